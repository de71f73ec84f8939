// What differs between training and test examples: orders, filters, the words of a cell and of an example's own window.
const saidInstead = (i) => otherShare(AXIS, i);
const mostSay = (i) => otherShare(AXIS, i) > outAccuracy(AXIS, i);
const said = (axis, i) => otherOf(axis, i) < 0 ? "" : `${className(otherOf(axis, i))}: ${percent(otherShare(axis, i))}`;
const surest = (i) => hasPair(i) ? -pairs.fdr[group.order[group.first[i]]] : NaN;

const AXES = {
  train: {
    valueName: "memorization",
    orders: {
      memorized: ["most memorized", null],
      least: ["least memorized", (i) => -mine.memorization[i]],
      sure: ["lower end of interval", (i) => mine.memorization_low[i]],
      likely: ["likely memorization", (i) => mine.memorization_posterior[i]],
      influence: ["most certain influence", surest],
      out: [`lowest ${run.measure} when out`, (i) => -mine.out_accuracy[i]],
      in: [`lowest ${run.measure} when in`, (i) => -mine.in_accuracy[i]],
      said: ["most agreed on another class", saidInstead],
      index: ["index", (i) => -mine.index[i]],
    },
    ticks: {
      flipped: (i) => truthOf("train", i) >= 0,
      unfitted: (i) => mine.in_accuracy[i] < 0.5,
      disputed: mostSay,
      undefined: (i) => Number.isNaN(mine.memorization[i]),
    },
    lines: (i) => [
      interval(mine.memorization[i], mine.memorization_low[i], mine.memorization_high[i]),
      `in ${fixed(mine.in_accuracy[i])}, out ${fixed(mine.out_accuracy[i])}`,
    ],
    facts: (i) => [
      ["memorization", interval(mine.memorization[i], mine.memorization_low[i], mine.memorization_high[i])],
      ...(!mine.memorization_posterior || Number.isNaN(mine.memorization_posterior[i]) ? [] : [
        ["likely, given all others", interval(mine.memorization_posterior[i], mine.memorization_posterior_low[i], mine.memorization_posterior_high[i])],
        [`probability of memorization ≥ ${run.threshold}`, fixed(mine.probability_memorized[i])],
      ]),
      ["training example", `#${mine.index[i]}`],
      [`${run.measure} when in`, `${fixed(mine.in_accuracy[i])} (${mine.in_count[i]} trials)`],
      [`${run.measure} when out`, `${fixed(mine.out_accuracy[i])} (${mine.out_count[i]} trials)`],
    ],
    saidName: "said by trials when out",
    sides: [["Test examples that it helps", 1], ["Test examples that it hurts", -1]],
  },
  test: {
    valueName: "accuracy",
    orders: {
      influence: ["most certain influence", null],
      out: [`lowest ${run.measure}`, (i) => -mine.accuracy[i]],
      said: ["most agreed on another class", saidInstead],
      pairs: ["most training examples that matter", (i) => pairsOf(i).filter(isShown).length],
      index: ["index", (i) => -mine.index[i]],
    },
    ticks: { disputed: mostSay },
    lines: (i) => [run.measure === "score" ? `score ${fixed(outAccuracy("test", i))}` : `right ${percent(outAccuracy("test", i))}`],
    facts: (i) => [[run.measure, `${fixed(outAccuracy("test", i))} (${run.trials} trials)`], ["test example", numberOf("test", i).replace("test ", "")]],
    saidName: "said by trials",
    sides: [["Training examples that help it", 1], ["Training examples that hurt it", -1]],
  },
};
const axis = AXES[AXIS];
axis.value = mine[axis.valueName];
axis.word = AXIS === "test" ? run.measure : axis.valueName;
axis.ticks.paired = hasPair;
axis.ticks.uncertain = () => true;
axis.ticks.onlymarked = (i) => marked.has(mine.place[i]);
if (!("memorization_posterior" in mine)) delete axis.orders.likely;
if (!mine.other) { delete axis.orders.said; delete axis.ticks.disputed; }

const tile = (of, i, words, size = 96) => {
  const picture = make("span", "tile"), sheet = run.sheets[of];
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", words);
  if (!sheet) { picture.hidden = true; return picture; }
  const inSheet = i % sheet.per_sheet;
  const number = String(Math.floor(i / sheet.per_sheet)).padStart(3, "0");
  picture.style.width = picture.style.height = `${size + 2}px`;
  picture.style.backgroundImage = `url("sprites/${sheet.prefix}-${number}.webp")`;
  const scale = size / sheet.side, step = sheet.tile * scale, margin = (sheet.tile - sheet.side) / 2 * scale;
  const column = inSheet % sheet.columns, row = Math.floor(inSheet / sheet.columns);
  picture.style.backgroundSize = `${sheet.columns * step}px auto`;
  picture.style.backgroundPosition = `${-column * step - margin}px ${-row * step - margin}px`;
  return picture;
};
