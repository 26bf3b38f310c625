// Tables: sorted by their heads, filtered by the form and the budget, opened by a press.

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells], head = heads[column];
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  heads.forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const numeric = head.classList.contains("number"), body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.sort;
  body.append(...[...body.rows].sort((one, other) => {
    const left = key(one), right = key(other);
    if (left === "" || right === "") return (left === "") - (right === "");
    const order = numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true });
    return ascending ? order : -order;
  }));
}

function filterRows() {
  const wanted = Object.fromEntries(new FormData(byId("filters"))), limits = budget();
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...byId("measurements").tBodies[0].rows];
  let outside = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const asked = ["format", "precision", "conditions", "validity"].every((key) => !wanted[key] || row.dataset[key] === wanted[key]) && words.every((word) => text.includes(word));
    const inside = fits(DATA.rows[row.dataset.row], limits);
    row.hidden = !(asked && inside);
    if (asked && !inside) outside += 1;
  }
  const shown = rows.filter((row) => !row.hidden).length;
  const over = outside ? `, ${outside} outside the budget` : "";
  byId("count").textContent = shown === rows.length ? plural(shown, "row") : `${shown} of ${plural(rows.length, "row")}${over}`;
  byId("empty").hidden = shown > 0;
}

function showAllColumns(button) {
  const all = byId("measurements").classList.toggle("all");
  byId("emulated")?.classList.toggle("all", all);
  button.setAttribute("aria-pressed", String(all));
}

function startTable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => sortBy(table, column)));
  table.tBodies[0].addEventListener("click", (event) => {
    if (event.target.closest("[data-tip]") || getSelection().toString()) return;
    openDetail(DATA.rows[event.target.closest("tr").dataset.row]);
  });
}
