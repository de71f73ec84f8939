// Filters live in the address, so that a view can be linked to: examples.html#class=3&order=index.
const RANGES = {
  value: ["from", "to", axis.valueName], out: ["outfrom", "outto", "out_accuracy"], in: ["infrom", "into", "in_accuracy"],
};
const FIELDS = {
  class: "label", order: "order", from: "least", to: "most", index: "search", says: "says",
  outfrom: "outfrom", outto: "outto", infrom: "infrom", into: "into",
};
const UPTO = { from: "to", outfrom: "outto", infrom: "into" };
const field = (key) => $(FIELDS[key]);
const DEFAULT_ORDER = Object.keys(axis.orders)[0];

const readAddress = () => {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(FIELDS)) {
    const value = asked.get(key) ?? (key === "order" ? DEFAULT_ORDER : "");
    if (field(key) && field(key).value !== value) field(key).value = value;  // to set a field, even to the same, takes time
  }
  for (const key of Object.keys(axis.ticks)) $(key).checked = asked.has(key);
  return asked.get("open");
};
const writeAddress = (opened) => {
  const parts = new URLSearchParams();
  for (const key of Object.keys(FIELDS)) {
    const value = field(key)?.value;
    if (value && value !== DEFAULT_ORDER) parts.set(key, value);
  }
  for (const key of Object.keys(axis.ticks)) if ($(key).checked) parts.set(key, "1");
  if (opened !== undefined) parts.set("open", opened);
  history.replaceState(null, "", `#${parts}`);
};

// From this value up to that, which is not included unless it is the highest there is: as the bars of a histogram.
const within = (values, from, to) => {
  const low = from === "" ? -Infinity : Math.fround(Number(from)), high = to === "" ? Infinity : Math.fround(Number(to));
  return (i) => values[i] >= low && (values[i] < high || (high >= 1 && values[i] <= high));
};
// All that the fields ask, by the name of what they ask it of.
const asks = () => {
  const found = {};
  const label = $("label").value, says = $("says").value;
  if (label !== "") found.class = (i) => mine.label[i] === Number(label);
  if (says !== "") found.says = (i) => otherOf(AXIS, i) === Number(says);
  for (const [name, [from, to, column]] of Object.entries(RANGES)) {
    if (field(from) && (field(from).value !== "" || field(to).value !== "")) found[name] = within(mine[column], field(from).value, field(to).value);
  }
  const asked = $("search").value.trim().toLowerCase(), wanted = new Set((asked.match(/\d+/g) ?? []).map(Number));
  const byIndex = !run.texts[AXIS].id || /^[\d\s,;]*$/.test(asked);
  if (asked) found.search = (i) => byIndex ? wanted.has(mine.index[i]) : idOf(AXIS, i).toLowerCase().includes(asked);
  for (const [key, test] of Object.entries(axis.ticks)) if ($(key).checked) found[key] = test;
  return found;
};
// The examples that fit everything that is asked but what is asked of `but`.
const fitting = (...but) => {
  const tests = Object.entries(asks()).filter(([name]) => !but.includes(name)).map(([, test]) => test), found = [];
  for (let i = 0; i < n; i++) if (tests.every((test) => test(i))) found.push(i);
  return found;
};
const apply = () => {
  const found = fitting();
  const key = axis.orders[$("order").value]?.[1];
  if (key) {
    const strength = new Map(found.map((i) => [i, key(i)]));
    const value = (i) => Number.isNaN(strength.get(i)) ? -Infinity : strength.get(i);
    found.sort((a, b) => (value(a) < value(b)) - (value(a) > value(b)) || a - b);
  }
  shown = Int32Array.from(found);
  describe();
  $("grid").scrollTop = 0;
  draw(true);
  drawCharts();
};
const describe = (cut = "") => {
  let defined = 0, sum = 0, high = 0;
  for (const i of shown) if (!Number.isNaN(axis.value[i])) { defined++; sum += axis.value[i]; high += axis.value[i] >= run.high; }
  const rest = AXIS === "train" ? `, ${counted(high)} with ${run.high} or more` : "";
  const mean = defined ? `; mean ${axis.word} ${(sum / defined).toFixed(3)}${rest}` : "";
  const left = AXIS === "train" && run.leftOut ? `; the ${counted(run.leftOut)} least memorized examples are not in this page` : "";
  $("none").hidden = shown.length > 0;
  $("count").textContent = `${counted(shown.length)} of ${counted(n)} ${WORDS[AXIS]} examples${mean}${left}${cut}`;
};
