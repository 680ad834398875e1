"use strict";
// Sorting. An empty key means that there is no value: it comes last in either direction.
function sortBy(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = Array.from(table.tBodies[0].rows, (row) => {
    const cell = row.cells[column];
    const key = cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort;
    return { row, key, number: key === "" ? NaN : Number(key) };
  });
  const present = keyed.filter((k) => k.key !== "");
  const numeric = present.every((k) => !Number.isNaN(k.number));
  present.sort((a, b) => (numeric ? a.number - b.number : a.key.localeCompare(b.key, "en", { numeric: true })));
  if (down) present.reverse();
  table.tBodies[0].append(...present.map((k) => k.row), ...keyed.filter((k) => k.key === "").map((k) => k.row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, column));
  });
}

// A run's configuration and manifest: what most runs share, with what is the run's own. Only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("details");
function fill(table, common, own) {
  const rows = [];
  for (const key of Object.keys(common)) {
    const differs = Object.hasOwn(own, key);
    const value = differs ? own[key] : common[key];
    if (value === null) continue;
    const row = document.createElement("tr");
    if (differs) row.className = "own";
    for (const text of [key, value]) row.append(Object.assign(document.createElement("td"), { textContent: text }));
    rows.push(row);
  }
  table.tBodies[0].replaceChildren(...rows);
}
document.getElementById("run-table").addEventListener("click", (event) => {
  const button = event.target.closest("button.open");
  if (!button) return;
  const run = Number(button.dataset.run);
  document.getElementById("details-name").textContent = data.paths[run];
  fill(document.getElementById("details-config"), data.config.common, data.config.own[run]);
  fill(document.getElementById("details-manifest"), data.manifest.common, data.manifest.own[run]);
  dialog.showModal();
  dialog.scrollTop = 0;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  let shown = 0;
  for (const row of document.getElementById("run-table").tBodies[0].rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    if (!row.hidden) shown += 1;
  }
  document.getElementById("count").textContent = wanted ? `${shown} shown` : "";
});
