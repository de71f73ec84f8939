"use strict";
// A heading sorts, largest first, then smallest first; the field keeps the classes whose name has its text.
(() => {
  const table = document.getElementById("classes"), body = table.tBodies[0], rows = [...body.rows];
  const named = document.getElementById("named");
  const number = (row, column) => row.cells[column].dataset.number === "" ? NaN : Number(row.cells[column].dataset.number);
  const sort = (head, column) => {
    const up = head.getAttribute("aria-sort") === (column ? "descending" : "none");
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => Number.isNaN(number(row, column)) ? -Infinity : (up ? -1 : 1) * number(row, column);
    body.append(...rows.sort((a, b) => (value(a) < value(b)) - (value(a) > value(b)) || number(a, 0) - number(b, 0)));
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", column ? "none" : "ascending");
  });
  named.addEventListener("input", () => {
    const asked = named.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(asked);
    const fitting = rows.filter((row) => !row.hidden).length;
    document.getElementById("fitting").textContent = asked ? `${fitting} of ${rows.length}` : "";
  });
})();
