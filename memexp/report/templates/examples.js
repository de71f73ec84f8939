"use strict";
// Only cells near the window exist. Text goes in as text, never as HTML. The filters live in the address, so
// that a view can be linked to: examples.html#class=3&order=index.
(() => {
  const run = window.MEMEXP;
  const unpack = (columns) => Object.fromEntries(Object.entries(columns).map(([name, [kind, text]]) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return [name, kind === "f4" ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer)];
  }));
  const train = unpack(run.train), test = unpack(run.test), pairs = unpack(run.pairs);
  const n = train.index.length;
  const $ = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const className = (label) => run.classes[label] ?? String(label);
  const idOf = (axis, place) => run.texts[axis].id?.[place] ?? "";
  const wordsOf = (axis, place) => run.texts[axis].words?.[place] ?? "";
  const nameOf = (axis, place) => {
    if (!run.folder) return make("span", "", idOf(axis, place));
    const link = make("a", "", idOf(axis, place));
    link.href = run.folder + idOf(axis, place).split("/").map(encodeURIComponent).join("/");
    return link;
  };
  const fixed = (value) => Number.isNaN(value) ? "–" : value.toFixed(2);

  // Pairs are grouped by training example, most certain first: firstPair[i] .. firstPair[i + 1] are those of i.
  const firstPair = new Int32Array(n + 1);
  for (const i of pairs.train) firstPair[i + 1]++;
  for (let i = 0; i < n; i++) firstPair[i + 1] += firstPair[i];

  // Pairs that are no discoveries are mostly noise: they are shown only where they are asked for.
  const sure = (k) => pairs.fdr[k] <= Math.fround(run.shownRate);
  const isShown = (k) => $("uncertain").checked || sure(k);
  const hasPair = (i) => firstPair[i] < firstPair[i + 1] && isShown(firstPair[i]);
  const rate = (value) => `FDR ${value < 0.001 ? "< 0.001" : Number(value.toPrecision(2))}`;

  const ORDERS = {
    memorized: ["most memorized", null],
    least: ["least memorized", (i) => -train.memorization[i]],
    sure: ["lower end of interval", (i) => train.memorization_low[i]],
    likely: ["likely memorization", (i) => train.memorization_posterior[i]],
    influence: ["most certain influence", (i) => hasPair(i) ? -pairs.fdr[firstPair[i]] : NaN],
    out: ["lowest accuracy when out", (i) => -train.out_accuracy[i]],
    in: ["lowest accuracy when in", (i) => -train.in_accuracy[i]],
    index: ["index", (i) => -train.index[i]],
  };
  const TICKS = {
    flipped: (i) => train.truth[i] >= 0,
    unfitted: (i) => train.in_accuracy[i] < 0.5,
    paired: hasPair,
    uncertain: () => true,
    undefined: (i) => Number.isNaN(train.memorization[i]),
  };

  const tile = (axis, place, words, size = 96) => {
    const picture = make("span", "tile"), sheet = run.sheets[axis];
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", words);
    if (!sheet) { picture.hidden = true; return picture; }
    const inSheet = place % sheet.per_sheet;
    const number = String(Math.floor(place / sheet.per_sheet)).padStart(3, "0");
    picture.style.width = picture.style.height = `${size + 2}px`;
    picture.style.backgroundImage = `url("sprites/${sheet.prefix}-${number}.webp")`;
    const scale = size / sheet.side, step = sheet.tile * scale, margin = (sheet.tile - sheet.side) / 2 * scale;
    const column = inSheet % sheet.columns, row = Math.floor(inSheet / sheet.columns);
    picture.style.backgroundSize = `${sheet.columns * step}px auto`;
    picture.style.backgroundPosition = `${-column * step - margin}px ${-row * step - margin}px`;
    return picture;
  };
  const titleOf = (i) => className(train.label[i]) + (train.truth[i] >= 0 ? `, truly ${className(train.truth[i])}` : "");
  const interval = (value, low, high) => `${fixed(value)} [${fixed(low)}, ${fixed(high)}]`;

  // ------------------------------------------------------------------ filters
  const FIELDS = { class: "label", order: "order", from: "least", to: "most", index: "search" };
  let shown = new Int32Array(0);

  const readAddress = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [key, id] of Object.entries(FIELDS)) $(id).value = asked.get(key) ?? (id === "order" ? "memorized" : "");
    for (const key of Object.keys(TICKS)) $(key).checked = asked.has(key);
  };
  const writeAddress = () => {
    const parts = new URLSearchParams();
    for (const [key, id] of Object.entries(FIELDS)) if ($(id).value && $(id).value !== "memorized") parts.set(key, $(id).value);
    for (const key of Object.keys(TICKS)) if ($(key).checked) parts.set(key, "1");
    history.replaceState(null, "", `#${parts}`);
  };
  const apply = () => {
    const label = $("label").value, least = $("least").value, most = $("most").value;
    const asked = $("search").value.trim().toLowerCase(), wanted = new Set((asked.match(/\d+/g) ?? []).map(Number));
    const byIndex = !run.texts.train.id || /^[\d\s,;]*$/.test(asked);
    const ticks = Object.entries(TICKS).filter(([key]) => $(key).checked).map(([, test]) => test);
    const found = [];
    for (let i = 0; i < n; i++) {
      if (label !== "" && train.label[i] !== Number(label)) continue;
      if (least !== "" && !(train.memorization[i] >= Number(least))) continue;
      if (most !== "" && !(train.memorization[i] <= Number(most))) continue;
      if (asked && !(byIndex ? wanted.has(train.index[i]) : idOf("train", i).toLowerCase().includes(asked))) continue;
      if (ticks.every((test) => test(i))) found.push(i);
    }
    const key = ORDERS[$("order").value]?.[1];
    if (key) {
      const strength = new Map(found.map((i) => [i, key(i)]));
      const value = (i) => Number.isNaN(strength.get(i)) ? -Infinity : strength.get(i);
      found.sort((a, b) => (value(a) < value(b)) - (value(a) > value(b)) || a - b);
    }
    shown = Int32Array.from(found);
    describe();
    $("grid").scrollTop = 0;
    draw(true);
  };
  const describe = () => {
    let defined = 0, sum = 0, high = 0;
    for (const i of shown) if (!Number.isNaN(train.memorization[i])) {
      defined++; sum += train.memorization[i]; high += train.memorization[i] >= 0.25;
    }
    const mean = defined ? `; mean memorization ${(sum / defined).toFixed(3)}, ${high.toLocaleString("en")} with 0.25 or more` : "";
    const rest = run.leftOut ? `; the ${run.leftOut.toLocaleString("en")} least memorized examples are not in this page` : "";
    $("none").hidden = shown.length > 0;
    $("count").textContent = `${shown.length.toLocaleString("en")} of ${n.toLocaleString("en")} training examples${mean}${rest}`;
  };

  // ------------------------------------------------------------------ the grid
  const pictures = Boolean(run.sheets.train), WIDTH = 126, HEIGHT = pictures ? 176 : 92, MARGIN_ROWS = 4;
  if (!pictures) $("grid").className = "plain";
  const cells = new Map();
  let columns = 1;

  const cell = (position) => {
    const i = shown[position];
    const button = make("button", train.truth[i] >= 0 ? "cell flipped" : "cell");
    button.type = "button";
    button.dataset.position = position;
    button.append(
      tile("train", i, `training image ${train.index[i]}: ${titleOf(i)}, memorization ${fixed(train.memorization[i])}`),
      make("b", "", titleOf(i)),
      make("span", "", interval(train.memorization[i], train.memorization_low[i], train.memorization_high[i])),
      make("span", "", `in ${fixed(train.in_accuracy[i])}, out ${fixed(train.out_accuracy[i])}`),
    );
    if (!pictures) button.append(make("span", "", `train #${train.index[i]}`));
    button.title = `${titleOf(i)}, training example ${train.index[i]}`;
    return button;
  };
  const draw = (anew = false) => {
    const grid = $("grid");
    columns = Math.max(1, Math.floor(grid.clientWidth / WIDTH));
    const left = Math.floor((grid.clientWidth - columns * WIDTH) / 2);
    $("space").style.height = `${Math.ceil(shown.length / columns) * HEIGHT + 12}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / HEIGHT) - MARGIN_ROWS) * columns;
    const last = Math.min(shown.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / HEIGHT) + MARGIN_ROWS) * columns);
    for (const [position, element] of cells) if (anew || position < first || position >= last) { element.remove(); cells.delete(position); }
    let next = null;  // the Tab key goes through the cells in the order of the page, wherever one scrolled before
    for (let position = last - 1; position >= first; position--) {
      let element = cells.get(position);
      if (!element) { element = cell(position); cells.set(position, element); $("space").insertBefore(element, next); }
      next = element;
      element.style.left = `${left + (position % columns) * WIDTH}px`;
      element.style.top = `${Math.floor(position / columns) * HEIGHT}px`;
    }
  };
  const focusOn = (position) => {
    const grid = $("grid"), target = Math.max(0, Math.min(shown.length - 1, position));
    const top = Math.floor(target / columns) * HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + HEIGHT > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT - grid.clientHeight;
    draw();
    cells.get(target)?.focus({ preventScroll: true });
  };

  // ------------------------------------------------------------------ one example
  const facts = (rows) => {
    const list = make("dl");
    for (const [name, value] of rows) {
      const row = make("div");
      const cell = make("dd");
      cell.append(value);  // a text, or an element
      row.append(make("dt", "", name), cell);
      list.append(row);
    }
    return list;
  };
  const open = (i) => {
    const words = make("div");
    words.append(make("h2", "", titleOf(i)), facts([
      ["memorization", interval(train.memorization[i], train.memorization_low[i], train.memorization_high[i])],
      ...(Number.isNaN(train.memorization_posterior[i]) ? [] : [
        ["likely, given all others", interval(train.memorization_posterior[i], train.memorization_posterior_low[i], train.memorization_posterior_high[i])],
        [`probability of ${run.threshold} or more`, fixed(train.probability_memorized[i])],
      ]),
      ["training example", `#${train.index[i]}`],
      ["accuracy when in", `${fixed(train.in_accuracy[i])} (${train.in_count[i]} trials)`],
      ["accuracy when out", `${fixed(train.out_accuracy[i])} (${train.out_count[i]} trials)`],
      ...(idOf("train", i) ? [["name", nameOf("train", i)]] : []),
      ...(run.texts.train.group ? [["group", run.texts.train.group[i]]] : []),
      ...(wordsOf("train", i) ? [["furthest from the mean", wordsOf("train", i)]] : []),
    ]));
    $("subject").replaceChildren(tile("train", i, `training image: ${titleOf(i)}`, 192), words);
    const sides = [], all = firstPair[i + 1] - firstPair[i];
    let seen = 0;
    for (const [name, sign] of [["helps", 1], ["hurts", -1]]) {
      const mine = [];
      for (let k = firstPair[i]; k < firstPair[i + 1]; k++) if (pairs.influence[k] * sign > 0 && isShown(k)) mine.push(k);
      seen += mine.length;
      if (!mine.length) continue;
      const cards = make("div", "cards");
      for (const k of mine.slice(0, 60)) {
        const j = pairs.test[k], card = make("figure", "cell card"), caption = make("figcaption");
        caption.append(make("b", "", className(test.label[j])),
          make("span", "", sure(k) ? interval(pairs.influence[k], pairs.influence_low[k], pairs.influence_high[k]) : fixed(pairs.influence[k])),
          make("span", "", rate(pairs.fdr[k])),
          make("span", "", `${run.texts.test.set?.[j] ?? "test"} #${test.index[j]}`));
        if (idOf("test", j)) caption.append(nameOf("test", j));
        if (wordsOf("test", j)) caption.append(make("span", "", wordsOf("test", j)));
        card.append(tile("test", j, `test image ${test.index[j]}: ${className(test.label[j])}, influence ${fixed(pairs.influence[k])}`), caption);
        cards.append(card);
      }
      sides.push(make("h2", "", `Test examples that it ${name}`), cards);
    }
    if (!sides.length) sides.push(make("p", "", all
      ? `No pair of this example is a discovery at a false discovery rate (FDR) of ${run.shownRate}.`
      : "No pair of this example was kept by the estimate."));
    if (seen < all && !$("uncertain").checked) {
      const more = make("button", "", `show ${all - seen} uncertain pairs, many of them noise`);
      more.type = "button";
      more.addEventListener("click", () => { $("uncertain").checked = true; writeAddress(); apply(); open(i); });
      sides.push(more);
    }
    $("influences").replaceChildren(...sides);
    if (!$("detail").open) $("detail").showModal();
    $("detail").scrollTop = 0;
  };

  // ------------------------------------------------------------------ start
  run.classes.forEach((name, label) => { const option = make("option", "", name); option.value = label; $("label").append(option); });
  if (train.memorization_posterior.every(Number.isNaN)) delete ORDERS.likely;
  for (const [key, [name]] of Object.entries(ORDERS)) { const option = make("option", "", name); option.value = key; $("order").append(option); }
  if (!train.truth.some((label) => label >= 0)) $("flipped").parentElement.hidden = true;
  if (!pairs.fdr.some((_, k) => !sure(k))) $("uncertain").parentElement.hidden = true;
  if (!train.memorization.some(Number.isNaN)) $("undefined").parentElement.hidden = true;
  if (run.caption) $("legend").append(` ${run.caption}`);
  if (run.texts.train.id) $("search").placeholder = "17, 204, or a name";
  let waiting = false;
  $("grid").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  new ResizeObserver(() => draw()).observe($("grid"));
  $("filters").addEventListener("input", () => { writeAddress(); apply(); });
  $("all").addEventListener("click", () => { history.replaceState(null, "", "#"); readAddress(); apply(); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { readAddress(); apply(); });
  $("space").addEventListener("click", (event) => {
    const button = event.target.closest(".cell");
    if (button) open(shown[Number(button.dataset.position)]);
  });
  $("close").addEventListener("click", () => $("detail").close());
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); $("search").focus(); return; }
    if (typing || $("detail").open) return;
    const here = Number(document.activeElement?.dataset?.position ?? -1);
    const page = Math.max(1, Math.floor($("grid").clientHeight / HEIGHT)) * columns;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page }[event.key];
    const target = event.key === "Home" ? 0 : event.key === "End" ? shown.length - 1 : step && (here < 0 ? 0 : here + step);
    if (target !== undefined && shown.length) { event.preventDefault(); focusOn(target); }
  });
  readAddress();
  apply();
})();
