// Lists of choices, what the run does not have is hidden, and events.
const option = (value, name) => { const element = make("option", "", name); element.value = value; return element; };
for (const id of ["label", "says"]) $(id).append(...run.classes.map((name, label) => option(label, name)));
$("order").append(...Object.entries(axis.orders).map(([key, [name]]) => option(key, name)));
const hide = (id) => { $(id).closest("label").hidden = true; };
if (!mine.other) { hide("says"); if ($("disputed")) hide("disputed"); }
if (oneClass) hide("label");
if (AXIS === "train") {
  if (run.measure === "score") hide("unfitted");
  if (!mine.truth.some((label) => label >= 0)) hide("flipped");
  if (!mine.memorization.some(Number.isNaN)) hide("undefined");
}
if (!pairs.fdr.some((_, k) => !sure(k))) hide("uncertain");
if (run.caption) $("legend").append(` ${run.caption}`);
if (run.texts[AXIS].id) $("search").placeholder = "17, 204, or a name";
if (innerWidth < 640) $("filtering").open = false;

let waiting = false;
$("grid").addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
});
new ResizeObserver(() => draw()).observe($("grid"));
$("filters").addEventListener("input", () => { writeAddress(); apply(); });
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["all", "anew"]) $(id).addEventListener("click", () => { history.replaceState(null, "", "#"); readAddress(); apply(); });
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
$("figures").addEventListener("toggle", drawCharts);
for (const [id, act] of Object.entries(TAKES)) $(id)?.addEventListener("click", act);
addEventListener("hashchange", () => { const index = readAddress(); apply(); openAsked(index); });
$("space").addEventListener("click", (event) => {
  const element = event.target.closest(".cell");
  if (element) open(shown[Number(element.dataset.position)]);
});
$("close").addEventListener("click", () => $("detail").close());
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("copylink").addEventListener("click", TAKES.link);
// The event comes after the key that closed it; the key after that one may be the search's.
$("detail").addEventListener("close", () => {
  writeAddress();
  if (opened >= 0 && document.activeElement !== $("search")) focusOn(opened);
});

addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key === "/" && !typing) { event.preventDefault(); $("filtering").open = true; $("search").focus(); return; }
  if (typing) return;
  if ($("detail").open) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
    if (event.key === "m") $("mark").click();
    return;
  }
  const here = Number(document.activeElement?.dataset?.position ?? -1);
  if (event.key === "m" && here >= 0) mark(shown[here]);
  const page = Math.max(1, Math.floor($("grid").clientHeight / HEIGHT)) * columnsOfGrid;
  const by = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: columnsOfGrid, ArrowUp: -columnsOfGrid, PageDown: page, PageUp: -page,
  }[event.key];
  const target = event.key === "Home" ? 0 : event.key === "End" ? shown.length - 1 : by && (here < 0 ? 0 : here + by);
  if (target !== undefined && shown.length) { event.preventDefault(); focusOn(target); }
});
const asked = readAddress();
tell();
apply();
openAsked(asked);
