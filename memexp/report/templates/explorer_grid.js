// The grid: only cells near the window exist. `shown` are the examples that fit the filters, in their order.
let shown = new Int32Array(0), columnsOfGrid = 1;
const pictures = Boolean(run.sheets[AXIS]), WIDTH = 126, MARGIN_ROWS = 4;
const numbered = (!pictures || run.texts[AXIS].set) && !oneClass;  // where nothing else tells which it is, or of which set
const LINES = axis.lines(0).length + (mine.other ? 1 : 0) + (numbered ? 1 : 0);
const HEIGHT = (pictures ? 109 : 9) + 17 * (1 + LINES) + 16;
const cells = new Map();

const cell = (position) => {
  const i = shown[position], title = titleOf(AXIS, i), lines = axis.lines(i);
  const element = make("button", truthOf(AXIS, i) >= 0 ? "cell flipped" : "cell");
  element.type = "button";
  element.dataset.position = position;
  element.style.height = `${HEIGHT}px`;
  element.classList.toggle("marked", marked.has(mine.place[i]));
  const picture = `${WORDS[AXIS]} image ${mine.index[i]}: ${title}, ${axis.word} ${fixed(axis.value[i])}`;
  if (said(AXIS, i)) lines.push(`says ${said(AXIS, i)}`);
  if (numbered) lines.push(numberOf(AXIS, i));
  element.append(tile(AXIS, i, picture), make("b", "", title), make("span", "lines", lines.join("\n")));
  element.title = `${title}, ${WORDS[AXIS]} example ${mine.index[i]}`;
  return element;
};
// On paper stand the first of those shown, as many whatever the window.
const MOST_PRINTED = 120;
let printing = false;
const onPaper = (now) => {
  printing = now;
  const cut = now && shown.length > MOST_PRINTED ? `; printed are the first ${MOST_PRINTED}` : "";
  describe(cut);
  draw(true);
};
const draw = (anew = false) => {
  const grid = $("grid");
  columnsOfGrid = Math.max(1, Math.floor(grid.clientWidth / WIDTH));
  const left = Math.floor((grid.clientWidth - columnsOfGrid * WIDTH) / 2);
  $("space").style.height = `${Math.ceil(shown.length / columnsOfGrid) * HEIGHT + 12}px`;
  const first = printing ? 0 : Math.max(0, Math.floor(grid.scrollTop / HEIGHT) - MARGIN_ROWS) * columnsOfGrid;
  const rows = Math.ceil((grid.scrollTop + grid.clientHeight) / HEIGHT) + MARGIN_ROWS;
  const last = Math.min(shown.length, printing ? MOST_PRINTED : rows * columnsOfGrid);
  for (const [position, element] of cells) {
    if (anew || position < first || position >= last) { element.remove(); cells.delete(position); }
  }
  let next = null;  // the Tab key goes through the cells in the order of the page, wherever one scrolled before
  for (let position = last - 1; position >= first; position--) {
    let element = cells.get(position);
    if (!element) { element = cell(position); cells.set(position, element); $("space").insertBefore(element, next); }
    next = element;
    element.style.left = `${left + (position % columnsOfGrid) * WIDTH}px`;
    element.style.top = `${Math.floor(position / columnsOfGrid) * HEIGHT}px`;
  }
};
const focusOn = (position) => {
  const grid = $("grid"), target = Math.max(0, Math.min(shown.length - 1, position));
  const top = Math.floor(target / columnsOfGrid) * HEIGHT;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + HEIGHT > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT - grid.clientHeight;
  draw();
  cells.get(target)?.focus({ preventScroll: true });
};
