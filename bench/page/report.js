"use strict";
// The page's script: two figures, a sortable and filterable table. The table's rows are in the HTML already.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FORMATS = ["eager", "torchscript", "executorch", "onnx", "litert", "coreml"];
const SYMBOLS = { fp32: "circle", fp16: "square", int8: "diamond" };
const SHAPES = { fp32: "●", fp16: "■", int8: "◆" };
const NARROW_PX = 620;
const LARGEST_BUBBLE_PX = { wide: 58, narrow: 34 };
const SMALLEST_BUBBLE_PX = 9;
const AXIS_ROOM_PX = 76;
const hidden = new Set();

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const fixed = (value, digits, unit = "") => (value === null ? "–" : value.toFixed(digits) + unit);
const isNarrow = (figure) => figure.clientWidth < NARROW_PX;
const megabytes = (bytes) => (bytes === null ? null : bytes / 1e6);
const inPercent = (share) => (share === null ? null : share * 100);
const percent = (share) => fixed(inPercent(share), 1, " %");
// Plotly reads a little HTML in its texts; names come from files.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/* Rows of one figure ------------------------------------------------------------------------------------------- */

function measuredRows() {
  const chosen = byId("conditions").value;
  return DATA.rows.filter((row) => row.conditions === chosen && row.median_ms !== null);
}

// What the axes mean depends on what there is to compare with.
function scaleOf(rows) {
  if (rows.some((row) => row.base_kind === "teacher")) {
    return {
      base: "teacher", x: (row) => (row.base_kind === "teacher" ? row.speed_up : null), y: (row) => inPercent(row.relative_accuracy),
      xTitle: "Speed-up against the teacher in eager PyTorch", yTitle: "Accuracy relative to the teacher",
      xUnit: " ×", goal: DATA.goal * 100,
    };
  }
  const base = rows.find((row) => row.speed_up !== null);
  const accuracy = (row) => inPercent(row.accuracy);
  if (base) {
    return { base: "slowest-eager", x: (row) => row.speed_up, y: accuracy, xTitle: `Speed-up against ${plain(base.base_name)} in eager PyTorch, the slowest row in it`, yTitle: "Accuracy", xUnit: " ×" };
  }
  return { base: "none", x: (row) => row.median_ms, y: accuracy, xTitle: "Median latency per call (further left is faster)", yTitle: "Accuracy", xUnit: " ms" };
}

function hoverText(row) {
  const lines = [
    `<b>${plain(row.name)}</b>${row.role === "teacher" ? " (teacher)" : ""}`,
    `${row.format} ${row.precision}, ${plain(row.runtime)}`,
    `median ${fixed(row.median_ms, 3, " ms")}   p10 ${fixed(row.p10_ms, 3)}   p90 ${fixed(row.p90_ms, 3)}`,
    `speed-up ${fixed(row.speed_up, 2, " ×")}   size ${fixed(megabytes(row.size_bytes), 2, " MB")}`,
    `accuracy ${percent(row.accuracy)}   relative ${percent(row.relative_accuracy)}`,
    `parameters ${fixed(row.num_parameters / 1e6, 2, " M")}   peak memory ${fixed(megabytes(row.peak_memory_bytes), 0, " MB")}`,
    `load ${fixed(row.load_ms, 1, " ms")}   first call ${fixed(row.first_inference_ms, 2, " ms")}`,
    `${row.validity}, ${row.samples} samples`,
  ];
  if (!row.base_in_same_run) lines.push("base measured in another session");
  return lines.join("<br>");
}

/* Plotly's look ------------------------------------------------------------------------------------------------ */

function axis(title, extra) {
  return {
    ...(title && { title: { text: title, font: { size: 13, color: colour("muted") }, standoff: 12 } }),
    gridcolor: colour("grid"), linecolor: colour("line"), tickcolor: colour("line"), zeroline: false,
    tickfont: { color: colour("muted"), size: 12 }, fixedrange: true, automargin: true, ...extra,
  };
}

function layout(extra) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
    hovermode: "closest", hoverdistance: 24,
    font: { family: getComputedStyle(document.body).fontFamily, color: colour("ink"), size: 13 },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("muted"), font: { color: colour("ink"), size: 13 }, align: "left" },
    ...extra,
  };
}

const LOOK = { displayModeBar: false, responsive: false, scrollZoom: false };

// 1, 2, 5, 10 … around the values: few enough to read, and never powers of ten alone.
function logTicks(values) {
  const low = Math.min(...values), high = Math.max(...values), ticks = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of [1, 2, 5]) ticks.push(Number((step * 10 ** power).toPrecision(6)));
  }
  return ticks;
}

function logAxis(title, values, unit, narrow) {
  const ticks = logTicks(values), low = Math.log10(Math.min(...values)), high = Math.log10(Math.max(...values));
  const room = Math.max(0.12, (narrow ? 0.12 : 0.07) * (high - low));
  return axis(title, {
    type: "log", range: [low - room, high + room], tickvals: ticks, tickangle: 0,
    ticktext: ticks.map((tick) => `${tick}${narrow ? "" : unit}`),
  });
}

/* Accuracy against speed --------------------------------------------------------------------------------------- */

function drawTrade() {
  const figure = byId("trade"), rows = measuredRows(), scale = scaleOf(rows);
  const placed = rows.filter((row) => scale.x(row) !== null && scale.y(row) !== null);
  document.querySelectorAll("[data-base]").forEach((one) => { one.hidden = one.dataset.base !== scale.base; });
  byId("trade-note").textContent = leftOut(rows.length - placed.length);
  figure.hidden = !placed.length;
  if (!placed.length) return;
  const diameter = isNarrow(figure) ? LARGEST_BUBBLE_PX.narrow : LARGEST_BUBBLE_PX.wide;
  const areaScale = (2 * Math.max(...placed.map((row) => row.size_bytes))) / diameter ** 2;
  const traces = FORMATS.filter((format) => !hidden.has(format)).map((format) =>
    bubbles(format, placed.filter((row) => row.format === format), scale, areaScale));
  Plotly.react(figure, traces, tradeLayout(figure, placed, scale), LOOK);
}

function leftOut(count) {
  if (!count) return "";
  return count === 1
    ? "One row has no accuracy or no base to compare with; it is in the table only."
    : `${count} rows have no accuracy or no base to compare with; they are in the table only.`;
}

function bubbles(format, rows, scale, areaScale) {
  // Large ones first, so that small ones lie on top and can be pointed at.
  const ordered = [...rows].sort((one, other) => other.size_bytes - one.size_bytes);
  return {
    type: "scatter", mode: "markers", name: format, x: ordered.map(scale.x), y: ordered.map(scale.y),
    text: ordered.map(hoverText), hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: colour(format), opacity: 0.78, symbol: ordered.map((row) => SYMBOLS[row.precision] || "cross"),
      size: ordered.map((row) => row.size_bytes), sizemode: "area", sizeref: areaScale,
      sizemin: SMALLEST_BUBBLE_PX / 2, line: { color: colour("surface"), width: 1.5 },
    },
  };
}

function tradeLayout(figure, rows, scale) {
  const narrow = isNarrow(figure), ys = rows.map(scale.y), levels = scale.goal ? [...ys, 100, scale.goal] : ys;
  const low = Math.min(...levels), high = Math.max(...levels), room = Math.max(0.6, (high - low) * 0.14);
  const range = [low - room, high + 1.6 * room];
  const yAxis = axis(narrow ? "" : scale.yTitle, { range, ticksuffix: " %", nticks: 7 });
  return layout({
    margin: { l: 12, r: 12, t: narrow ? 34 : 16, b: 12 },
    xaxis: logAxis(narrow ? "" : scale.xTitle, rows.map(scale.x), scale.xUnit, narrow), yaxis: yAxis,
    shapes: scale.goal ? [level(100, "solid"), level(scale.goal, "dash")] : [],
    annotations: [
      ...(scale.goal ? [goalText(scale.goal)] : []), ...(narrow ? narrowTitles(scale) : names(rows, scale, figure, range)),
    ],
  });
}

// On a phone the axes' titles would take the room of the figure.
function narrowTitles(scale) {
  const title = { showarrow: false, xref: "paper", yref: "paper", font: { size: 12, color: colour("muted") } };
  const up = scale.goal ? "relative accuracy" : "accuracy", right = scale.xUnit === " ms" ? "median ms" : "speed-up (×)";
  return [{ ...title, text: `↑ ${up}      → ${right}`, x: 0, y: 1, yshift: 24, xanchor: "left" }];
}

function level(y, dash) {
  return { type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, layer: "below", line: { color: colour("muted"), width: 1, dash } };
}

function goalText(goal) {
  return { text: `${Math.round(goal)} % of the teacher`, xref: "paper", x: 0, y: goal, xanchor: "left", yanchor: "top", showarrow: false, font: { size: 12, color: colour("muted") } };
}

// Named on the figure: the teacher, and the fastest that reaches the goal. All others tell their name when pointed at.
function names(rows, scale, figure, range) {
  const visible = rows.filter((row) => !hidden.has(row.format));
  const teacher = visible.find((row) => row.role === "teacher" && row.format === "eager");
  const reached = visible.filter((row) => row.role === "student" && scale.goal && scale.y(row) >= scale.goal);
  const best = reached.sort((one, other) => scale.x(other) - scale.x(one))[0];
  const named = [];
  if (teacher) named.push([teacher, `teacher: ${plain(teacher.name)}`, "left"]);
  if (best) named.push([best, `${plain(best.name)}, ${best.format} ${best.precision}`, "right"]);
  return named.map(([row, text, side]) => ({
    text, x: Math.log10(scale.x(row)), y: scale.y(row), ...leader(scale.y(row), range, figure),
    xanchor: side, xshift: side === "left" ? -3 : 3, font: { size: 13, color: colour("ink") },
  }));
}

// A thin line from the bubble up to a name at the top, where no bubble lies.
function leader(y, range, figure) {
  const height = figure.clientHeight - AXIS_ROOM_PX;
  const rise = ((range[1] - y) / (range[1] - range[0])) * height;
  return { showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: colour("muted"), ax: 0, ay: -rise + 12, standoff: 0 };
}

/* Latency ------------------------------------------------------------------------------------------------------ */

function drawLatency() {
  const figure = byId("latency"), narrow = isNarrow(figure);
  const rows = measuredRows().filter((row) => !hidden.has(row.format)).sort((one, other) => other.median_ms - one.median_ms);
  const step = narrow ? 40 : 27;
  figure.style.height = `${Math.max(1, rows.length) * step + 70}px`;
  figure.hidden = !rows.length;
  if (!rows.length) return;
  const reach = rows.flatMap((row) => [row.p10_ms ?? row.median_ms, row.median_ms, row.p90_ms ?? row.median_ms]);
  const traces = FORMATS.map((format) => ranges(format, rows)).filter((trace) => trace.x.length);
  const ticks = rows.map((row) => `${plain(row.name)}  <b>${row.format} ${row.precision}</b>`);
  Plotly.react(figure, traces, layout({
    margin: { l: narrow ? 2 : 12, r: narrow ? 44 : 72, t: 12, b: 12 }, height: figure.clientHeight,
    xaxis: logAxis("Milliseconds per call", reach, " ms", narrow),
    yaxis: axis("", {
      automargin: !narrow, tickmode: "array", tickvals: rows.map((_, place) => place), ticktext: ticks, showticklabels: !narrow,
      range: [-0.6, rows.length - (narrow ? 0.3 : 0.4)], tickfont: { color: colour("ink"), size: 12.5 }, ticklabelstandoff: 10,
    }),
    annotations: [...rows.map(medianText), ...(narrow ? ticks.map(nameAbove) : [])],
  }), LOOK);
}

function medianText(row, place) {
  return { text: fixed(row.median_ms, row.median_ms < 10 ? 2 : 1), xref: "paper", x: 1, y: place, xshift: 8, xanchor: "left", showarrow: false, font: { size: 12.5 } };
}

function nameAbove(text, place) {
  return { text, xref: "paper", x: 0, y: place, yshift: 15, xanchor: "left", showarrow: false, font: { size: 11 } };
}

function ranges(format, rows) {
  const places = rows.map((_, place) => place).filter((place) => rows[place].format === format);
  const own = places.map((place) => rows[place]);
  return {
    type: "scatter", mode: "markers", name: format, x: own.map((row) => row.median_ms), y: places,
    text: own.map(hoverText), hovertemplate: "%{text}<extra></extra>",
    error_x: {
      type: "data", symmetric: false, thickness: 3, width: 0, color: colour(format),
      array: own.map((row) => (row.p90_ms === null ? 0 : row.p90_ms - row.median_ms)),
      arrayminus: own.map((row) => (row.p10_ms === null ? 0 : row.median_ms - row.p10_ms)),
    },
    marker: { color: colour(format), size: 11, symbol: own.map((row) => SYMBOLS[row.precision] || "cross"), line: { color: colour("surface"), width: 1.5 } },
  };
}

/* Legend ------------------------------------------------------------------------------------------------------- */

function buildLegend() {
  const legend = byId("legend");
  for (const format of FORMATS.filter((one) => DATA.rows.some((row) => row.format === one))) {
    const button = document.createElement("button"), dot = document.createElement("span");
    dot.className = "dot";
    dot.dataset.format = format;
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(dot, format);
    button.addEventListener("click", () => toggle(format, button));
    legend.append(button);
  }
  const shapes = [...new Set(DATA.rows.map((row) => row.precision))].map((one) => `${SHAPES[one] || "✚"} ${one}`);
  for (const text of [...shapes, "area: file size"]) {
    const key = document.createElement("span");
    key.className = "key";
    key.textContent = text;
    legend.append(key);
  }
}

function toggle(format, button) {
  if (!hidden.delete(format)) hidden.add(format);
  button.setAttribute("aria-pressed", String(!hidden.has(format)));
  draw();
}

/* Table -------------------------------------------------------------------------------------------------------- */

function sortBy(column) {
  const heads = [...byId("measurements").tHead.rows[0].cells], head = heads[column];
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  heads.forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const numeric = head.classList.contains("number"), body = byId("measurements").tBodies[0];
  const key = (row) => row.cells[column].dataset.sort;
  body.append(...[...body.rows].sort((one, other) => {
    const left = key(one), right = key(other);
    if (left === "" || right === "") return (left === "") - (right === "");
    const order = numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true });
    return ascending ? order : -order;
  }));
}

function filterRows() {
  const wanted = Object.fromEntries(new FormData(byId("filters")));
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...byId("measurements").tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = ["format", "precision", "conditions", "validity"].every((key) => !wanted[key] || row.dataset[key] === wanted[key]);
    row.hidden = !(fits && words.every((word) => text.includes(word)));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  byId("count").textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  byId("empty").hidden = shown > 0;
}

/* Start -------------------------------------------------------------------------------------------------------- */

function draw() {
  drawTrade();
  drawLatency();
}

let width = 0;
const redrawWhenWidthChanges = () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  Plotly.purge(byId("trade"));
  Plotly.purge(byId("latency"));
  draw();
};

buildLegend();
[...byId("measurements").tHead.rows[0].cells].forEach((head, column) =>
  head.querySelector("button").addEventListener("click", () => sortBy(column)));
byId("filters").addEventListener("input", filterRows);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => setTimeout(filterRows));
byId("conditions").addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("resize", redrawWhenWidthChanges);
filterRows();
redrawWhenWidthChanges();
