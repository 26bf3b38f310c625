// Everything is drawn, and drawn again when its place, its colours or its data change.

const FIGURES = ["trade", "latency", "trace", "histogram"];

function draw() {
  if (RANKED.length) {
    drawTrade();
    drawLatency();
  }
  drawDetail();
}

let width = 0;
function redrawWhenWidthChanges() {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  FIGURES.filter((name) => byId(name)).forEach((name) => Plotly.purge(byId(name)));
  draw();
}

function startForms() {
  const onReset = (form, then) => form.addEventListener("reset", () => setTimeout(then));
  const applyBudget = () => {
    drawTrade();
    filterRows();
  };
  byId("filters").addEventListener("input", filterRows);
  byId("budget").addEventListener("input", applyBudget);
  onReset(byId("filters"), filterRows);
  onReset(byId("budget"), applyBudget);
  for (const form of [byId("filters"), byId("budget")]) form.addEventListener("submit", (event) => event.preventDefault());
  byId("conditions").addEventListener("change", draw);
  byId("log-latency").addEventListener("change", drawTrade);
  byId("all-columns").addEventListener("click", (event) => showAllColumns(event.currentTarget));
  if (hasTeacher) byId("accuracy-limit").textContent = `${MEASURE.heading} kept at least`;
  buildLegend();
  filterRows();
}

startTips();
startDetail();
document.querySelectorAll("table.rows").forEach(startTable);
if (RANKED.length) startForms();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("resize", redrawWhenWidthChanges);
redrawWhenWidthChanges();
