// Figures that filter: a click on a bar or a field asks for its range, a second click takes that back.
const MAP = 20;
// In twentieths from 0 to 1, or as far as the values go: a score may be on any scale, and the steps then wider.
const edgesOf = (values) => {
  const lowest = values.reduce((low, value) => value < low ? value : low, 0), edges = [];
  const highest = values.reduce((high, value) => value > high ? value : high, 1);
  const step = Math.ceil((highest - lowest) / 2.5) / 20;
  for (let k = Math.floor(lowest / step + 1e-6); k <= Math.ceil(highest / step - 1e-6); k++) edges.push((k * step).toFixed(2));
  return edges;
};
// In which of the ranges between the edges each value is: -1 for none.
const binOf = (value, edges) => {
  for (let k = edges.length - 2; k >= 0; k--) if (value >= Math.fround(Number(edges[k]))) return k;
  return -1;
};
const choose = (...ranges) => {
  const same = ranges.every(([key, low, high]) => field(key).value === low && field(UPTO[key]).value === high);
  for (const [key, low, high] of ranges) { field(key).value = same ? "" : low; field(UPTO[key]).value = same ? "" : high; }
  writeAddress();
  apply();
};

const histogram = (name, words) => {
  const [from, to, column] = RANGES[name], values = mine[column], edges = edgesOf(values), counts = new Array(edges.length - 1).fill(0);
  for (const i of fitting(name)) if (!Number.isNaN(values[i])) counts[binOf(values[i], edges)]++;
  const most = Math.max(1, ...counts), highest = Math.log1p(most), bars = make("div", "bars"), figure = make("figure", "chart");
  const low = field(from).value, high = field(to).value;
  counts.forEach((count, k) => {
    const bar = button("", () => choose([from, edges[k], edges[k + 1]])), fill = make("span");
    const chosen = (low === "" || Number(edges[k]) >= Number(low)) && (high === "" || Number(edges[k + 1]) <= Number(high));
    bar.title = `${words} ${edges[k]} to ${edges[k + 1]}: ${counted(count)}`;
    bar.setAttribute("aria-label", bar.title);
    bar.setAttribute("aria-pressed", String(chosen && (low !== "" || high !== "")));
    bar.className = chosen ? "" : "outside";
    fill.style.height = `${100 * Math.log1p(count) / highest}%`;
    bar.append(fill);
    bars.append(bar);
  });
  const ends = make("div", "ends");
  ends.append(make("span", "", edges[0]), make("span", "", `${words} (log counts, up to ${counted(most)})`), make("span", "", edges.at(-1)));
  figure.append(bars, ends);
  return figure;
};

// Accuracy when out (to the right) and when in (upwards): a darker field has more examples.
const map = () => {
  const counts = new Int32Array(MAP * MAP), place = (value) => Math.min(MAP - 1, Math.floor(value * MAP + 1e-6));
  const edge = (k) => (k / MAP).toFixed(2), edges = Array.from({ length: MAP + 1 }, (_, k) => edge(k));
  const known = fitting("out", "in").filter((i) => !Number.isNaN(mine.out_accuracy[i]) && !Number.isNaN(mine.in_accuracy[i]));
  for (const i of known) counts[binOf(mine.in_accuracy[i], edges) * MAP + binOf(mine.out_accuracy[i], edges)]++;
  const canvas = make("canvas"), pen = canvas.getContext("2d"), side = 12, highest = Math.log1p(Math.max(1, ...counts));
  canvas.width = canvas.height = MAP * side;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "map of accuracy when out and when in; the fields of the filters choose the same ranges");
  pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--link");
  counts.forEach((count, k) => {
    pen.globalAlpha = count ? 0.2 + 0.8 * Math.log1p(count) / highest : 0;
    pen.fillRect((k % MAP) * side, (MAP - 1 - Math.floor(k / MAP)) * side, side - 1, side - 1);
  });
  const at = (event) => [place(event.offsetX / canvas.clientWidth), MAP - 1 - place(event.offsetY / canvas.clientHeight)];
  canvas.addEventListener("mousemove", (event) => {
    const [x, y] = at(event);
    canvas.title = `out ${edge(x)} to ${edge(x + 1)}, in ${edge(y)} to ${edge(y + 1)}: ${counted(counts[y * MAP + x])}`;
  });
  canvas.addEventListener("click", (event) => {
    const [x, y] = at(event);
    choose(["outfrom", edge(x), edge(x + 1)], ["infrom", edge(y), edge(y + 1)]);
  });
  const figure = make("figure", "chart map"), words = make("div", "ends");
  words.append(make("span", "", "accuracy when out →, when in ↑"));
  figure.append(canvas, words);
  return figure;
};
const drawCharts = () => {
  if (!$("figures").open) return;
  const found = [histogram("value", axis.word)];
  if (AXIS === "train") found.push(run.oneRow ? histogram("out", `${run.measure} when out`) : map());
  const here = [...$("charts").querySelectorAll("button")].indexOf(document.activeElement);
  $("charts").replaceChildren(...found);
  if (here >= 0) $("charts").querySelectorAll("button")[here]?.focus();
};
