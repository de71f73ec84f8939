// One example in a window of its own: what it is, what trials without it say, and the pairs that it is in.
const MOST_CARDS = 60;
let opened = -1;  // its place in `shown`; -1 for one that the filters hide

const facts = (rows) => {
  const list = make("dl");
  for (const [name, value] of rows) {
    const row = make("div"), cell = make("dd");
    cell.append(value);  // a text, or an element
    row.append(make("dt", "", name), cell);
    list.append(row);
  }
  return list;
};
const votes = (i) => {
  if (!mine.other) return [];
  const label = outAccuracy(AXIS, i), rest = 1 - label - (otherShare(AXIS, i) || 0);
  const parts = [`${className(mine.label[i])}: ${percent(label)}`];
  if (said(AXIS, i)) parts.unshift(said(AXIS, i));
  if (!mostSay(i)) parts.reverse();
  if (rest > 0.005) parts.push(`others: ${percent(rest)}`);
  return Number.isNaN(label) ? [] : [[axis.saidName, parts.join(", ")]];
};
const pairCard = (k) => {
  const j = pairs[OTHER][k], card = make("figure", truthOf(OTHER, j) >= 0 ? "cell card flipped" : "cell card");
  const caption = make("figcaption"), link = make("a", "", numberOf(OTHER, j));
  link.href = `${pageOf(OTHER)}#open=${keyOf(OTHER, j)}`;
  const value = fixed(pairs.influence[k]), title = titleOf(OTHER, j);
  caption.append(make("b", "", title),
    make("span", "", sure(k) ? interval(pairs.influence[k], pairs.influence_low[k], pairs.influence_high[k]) : value),
    make("span", "", rate(pairs.fdr[k])), link);
  if (idOf(OTHER, j)) caption.append(nameOf(OTHER, j));
  if (wordsOf(OTHER, j)) caption.append(make("span", "", wordsOf(OTHER, j)));
  card.append(tile(OTHER, j, `${OTHER} image ${columns[OTHER].index[j]}: ${title}, influence ${value}`), caption);
  return card;
};
const pairSections = (i) => {
  const all = [...pairsOf(i)], seen = all.filter(isShown), found = [];
  for (const [title, sign] of axis.sides) {
    const some = seen.filter((k) => pairs.influence[k] * sign > 0), cards = make("div", "cards");
    if (!some.length) continue;
    cards.append(...some.slice(0, MOST_CARDS).map(pairCard));
    found.push(make("h2", "", some.length > MOST_CARDS ? `${title}: the ${MOST_CARDS} most certain of ${some.length}` : title), cards);
  }
  if (!found.length) found.push(make("p", "", all.length
    ? `No pair of this example is a discovery at a false discovery rate (FDR) of ${run.shownRate}.`
    : "No pair of this example was kept by the estimate."));
  if (seen.length < all.length && !$("uncertain").checked) {
    found.push(button(`show ${counted(all.length - seen.length)} uncertain ${all.length - seen.length === 1 ? "pair, perhaps" : "pairs, many of them"} noise`, () => {
      $("uncertain").checked = true;
      apply();
      open(i);
    }));
  }
  return found;
};
const open = (i) => {
  opened = shown.indexOf(i);
  const words = make("div");
  words.append(make("h2", "", titleOf(AXIS, i)), facts([
    ...axis.facts(i), ...votes(i),
    ...(idOf(AXIS, i) ? [["name", nameOf(AXIS, i)]] : []),
    ...(run.texts[AXIS].group ? [["group", run.texts[AXIS].group[i].replace(/^group /, "")]] : []),
    ...(wordsOf(AXIS, i) ? [["furthest from the mean", wordsOf(AXIS, i)]] : []),
  ]));
  $("subject").classList.toggle("flipped", truthOf(AXIS, i) >= 0);
  $("subject").replaceChildren(tile(AXIS, i, `${WORDS[AXIS]} image: ${titleOf(AXIS, i)}`, 192), words);
  $("influences").replaceChildren(...pairSections(i));
  $("mark").onclick = () => { mark(i); open(i); };
  $("mark").setAttribute("aria-pressed", String(marked.has(mine.place[i])));
  $("previous").disabled = opened <= 0;
  $("next").disabled = opened < 0 || opened >= shown.length - 1;
  $("where").textContent = opened < 0 ? "" : `${counted(opened + 1)} of ${counted(shown.length)}`;
  writeAddress(keyOf(AXIS, i));
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
};
const step = (by) => { if (opened >= 0 && shown[opened + by] !== undefined) open(shown[opened + by]); };
const openAsked = (index) => {
  const i = index === null ? -1 : (run.texts[AXIS].set ? mine.place : mine.index).indexOf(Number(index));
  if (i >= 0) open(i);
  else if ($("detail").open) $("detail").close();
};
