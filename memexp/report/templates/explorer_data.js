// The run's numbers: columns by axis (train, test), pairs by training and by test example, words for all of them.
const run = window.MEMEXP;
const ARRAYS = { f4: Float32Array, i4: Int32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array };
const decode = ([kind, text]) => {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  return new ARRAYS[kind](bytes.buffer);
};
// A column is decoded when it is first asked for: the first screen needs few of them.
const unpack = (packed) => {
  const found = {};
  for (const name of Object.keys(packed)) {
    const keep = (value) => Object.defineProperty(found, name, { value, enumerable: true })[name];
    Object.defineProperty(found, name, { get: () => keep(decode(packed[name])), enumerable: true, configurable: true });
  }
  return found;
};
const columns = { train: unpack(run.train), test: unpack(run.test) };
const pairs = unpack(run.pairs);
const AXIS = document.body.dataset.axis, OTHER = AXIS === "train" ? "test" : "train";
const mine = columns[AXIS], n = mine.index.length;
const WORDS = { train: "training", test: "test" };

const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const button = (text, act) => {
  const element = make("button", "", text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
};

// ------------------------------------------------------------------ words
const fixed = (value) => Number.isNaN(value) ? "–" : value.toFixed(2).replace("-0.00", "0.00");
const counted = (value) => value.toLocaleString("en");
// Neither none nor all of it, where it is only nearly so.
const percent = (share) => {
  if (Number.isNaN(share)) return "–";
  if (share > 0 && share < 0.005) return "< 1 %";
  return share < 1 && share >= 0.995 ? "> 99 %" : `${Math.round(100 * share)} %`;
};
const interval = (value, low, high) => `${fixed(value)} [${fixed(low)}, ${fixed(high)}]`;
const rate = (value) => `FDR ${value < 0.001 ? "< 0.001" : Number(value.toPrecision(2))}`;
const className = (label) => run.classes[label] ?? String(label);
const idOf = (axis, i) => run.texts[axis].id?.[i] ?? "";
const wordsOf = (axis, i) => run.texts[axis].words?.[i] ?? "";
const nameOf = (axis, i) => {
  if (!run.folder) return make("span", "", idOf(axis, i));
  const link = make("a", "", idOf(axis, i));
  link.href = run.folder + idOf(axis, i).split("/").map(encodeURIComponent).join("/");
  return link;
};
// How an example is called, and by which number a link opens it: several test sets may number theirs alike.
const numberOf = (axis, i) => `${run.texts[axis].set?.[i] ?? axis} #${columns[axis].index[i]}`;
const keyOf = (axis, i) => run.texts[axis].set ? columns[axis].place[i] : columns[axis].index[i];
const truthOf = (axis, i) => columns[axis].truth?.[i] ?? -1;
const oneClass = run.classes.length === 1;
const titleOf = (axis, i) => oneClass ? numberOf(axis, i) : className(columns[axis].label[i])
  + (truthOf(axis, i) >= 0 ? `, truly ${className(truthOf(axis, i))}` : "");
const pageOf = (axis) => axis === "train" ? "examples.html" : "tests.html";

// Trials that did not see an example: of a test example all. What they say instead of its label, and how many do.
const outCount = (axis, i) => axis === "train" ? columns.train.out_count[i] : run.trials;
const outAccuracy = (axis, i) => axis === "train" ? columns.train.out_accuracy[i] : columns.test.accuracy?.[i] ?? NaN;
const otherOf = (axis, i) => columns[axis].other?.[i] ?? -1;
const otherShare = (axis, i) => otherOf(axis, i) < 0 ? NaN : columns[axis].otherVotes[i] / outCount(axis, i);

// ------------------------------------------------------------------ pairs
// The file has them in the order of certainty. The numbers of those of example i are order[k] for k from first[i] to
// first[i + 1], the most certain first.
const group = (() => {
  const order = new Int32Array(pairs.fdr.length), first = new Int32Array(n + 1);
  for (const i of pairs[AXIS]) first[i + 1]++;
  for (let i = 0; i < n; i++) first[i + 1] += first[i];
  const next = first.slice();
  pairs[AXIS].forEach((i, k) => { order[next[i]++] = k; });
  return { order, first };
})();
const pairsOf = (i) => group.order.subarray(group.first[i], group.first[i + 1]);
// Pairs that are no discoveries are mostly noise: they are shown only where they are asked for.
const sure = (k) => pairs.fdr[k] <= Math.fround(run.shownRate);
const isShown = (k) => $("uncertain").checked || sure(k);
const hasPair = (i) => group.first[i] < group.first[i + 1] && isShown(group.order[group.first[i]]);
