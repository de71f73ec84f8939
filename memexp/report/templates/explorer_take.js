// Marked examples, and what can be taken away: indices, CSV, JSON that `removed:` of a spec reads, a link.
const SHELF = `memexp ${run.identity} ${AXIS}`;
const marked = new Set((() => { try { return JSON.parse(localStorage.getItem(SHELF)) ?? []; } catch { return []; } })());
const mark = (i) => {
  if (!marked.delete(mine.place[i])) marked.add(mine.place[i]);
  keep();
  for (const [position, element] of cells) element.classList.toggle("marked", marked.has(mine.place[shown[position]]));
};
const keep = () => {
  try { localStorage.setItem(SHELF, JSON.stringify([...marked])); } catch { /* a browser that keeps nothing */ }
  tell();
};
const tell = (words = "") => {
  $("told").textContent = words;
  $("ofmarked").textContent = `marked (${counted(marked.size)})`;
};
// The examples to take, as the page has them in order.
const taken = () => {
  if ($("which").value === "shown") return [...shown];
  return [...mine.index.keys()].filter((i) => marked.has(mine.place[i]));
};
const copy = async (text, words) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a browser that lets no page from a disk write there
    const area = make("textarea");
    area.value = text;
    ($("detail").open ? $("detail") : document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell(words);
};
const download = (name, kind, text) => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

const placesOf = (examples) => examples.map((i) => mine.place[i]).sort((a, b) => a - b);
const asJson = (examples) => JSON.stringify({ ...run.removed, "chosen in the report": placesOf(examples) });
const quoted = (value) => /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
const asCsv = (examples) => {
  const numbers = Object.keys(mine).filter((name) => !["place", "index", "label", "truth", "other", "otherVotes"].includes(name));
  const head = ["index", "source_index", "id", "label", "class_name", ...(mine.truth ? ["true_class_name"] : []), ...numbers];
  if (mine.other) head.push("other_class_name", "share_other");
  const rows = examples.map((i) => [
    mine.place[i], mine.index[i], idOf(AXIS, i) || mine.index[i], mine.label[i], className(mine.label[i]),
    ...(mine.truth ? [truthOf(AXIS, i) >= 0 ? className(mine.truth[i]) : ""] : []),
    ...numbers.map((name) => Number.isNaN(mine[name][i]) ? "" : mine[name][i]),
    ...(mine.other ? [otherOf(AXIS, i) < 0 ? "" : className(mine.other[i]), otherOf(AXIS, i) < 0 ? "" : otherShare(AXIS, i)] : []),
  ].map((value) => quoted(String(value))).join(","));
  return [head.join(","), ...rows, ""].join("\n");
};
const fileName = (ending) => `${run.name.replace(/[^\w.-]+/g, "_")}-${AXIS}-${$("which").value}.${ending}`;
const TAKES = {
  indices: () => copy(placesOf(taken()).join(", "), `${counted(taken().length)} indices copied`),
  csv: () => download(fileName("csv"), "text/csv", asCsv(taken())),
  json: () => download(fileName("json"), "application/json", asJson(taken())),
  link: () => copy(location.href, "link copied"),
  unmark: () => { marked.clear(); keep(); draw(true); },
};
