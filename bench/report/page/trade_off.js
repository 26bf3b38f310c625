// Accuracy against latency, size as area, with the front and the reader's limits.

const LARGEST_BUBBLE_PX = { wide: 46, narrow: 30 };
const SMALLEST_BUBBLE_PX = 9;
const FADED = 0.16;
const AXIS_ROOM_PX = 76;
const LINE_PX = 18;
const hidden = new Set();

const rowsUnderConditions = () => RANKED.filter((row) => row.conditions === byId("conditions").value && row.median_ms !== null);

function drawTrade() {
  const figure = byId("trade"), rows = rowsUnderConditions(), limits = budget();
  showAnswer(RANKED.filter((row) => row.conditions === byId("conditions").value), limits);
  const placed = rows.filter((row) => accuracyOf(row) !== null);
  byId("trade-note").textContent = leftOut(rows.length - placed.length);
  figure.hidden = !placed.length;
  if (!placed.length) return;
  const diameter = isNarrow(figure) ? LARGEST_BUBBLE_PX.narrow : LARGEST_BUBBLE_PX.wide;
  const areaScale = (2 * Math.max(...placed.map((row) => row.size_bytes))) / diameter ** 2;
  const visible = placed.filter((row) => !hidden.has(row.format));
  const traces = formatsOf(visible).map((format) => bubbles(format, visible.filter((row) => row.format === format), limits, areaScale));
  Plotly.react(figure, [edge(visible), ...traces], tradeLayout(figure, placed, limits), LOOK);
  openOnPress(figure);
}

function leftOut(count) {
  if (!count) return "";
  const base = hasTeacher ? " or no teacher to compare with" : "";
  return count === 1 ? `One row has no ${MEASURE.title}${base}; it is in the table only.` : `${count} rows have no ${MEASURE.title}${base}; they are in the table only.`;
}

// The upper left edge of the front: the best accuracy that is to be had for a latency.
function edge(rows) {
  const best = [];
  for (const row of rows.filter((row) => row.candidate?.is_on_front).sort((row, other) => row.median_ms - other.median_ms)) {
    if (!best.length || accuracyOf(row) > accuracyOf(best.at(-1))) best.push(row);
  }
  return {
    type: "scatter", mode: "lines", name: "front", x: best.map((row) => row.median_ms), y: best.map(accuracyOf),
    line: { shape: "hv", color: colour("accent"), width: 1.5 }, opacity: 0.55, hoverinfo: "skip",
  };
}

function bubbles(format, rows, limits, areaScale) {
  // Large ones first, so that small ones lie on top and can be pointed at.
  const ordered = [...rows].sort((one, other) => other.size_bytes - one.size_bytes);
  return {
    type: "scatter", mode: "markers", name: format, x: ordered.map((row) => row.median_ms), y: ordered.map(accuracyOf),
    text: ordered.map(hoverText), customdata: ordered.map((row) => row.index), hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: formatColour(format), opacity: ordered.map((row) => (fits(row, limits) ? 0.8 : FADED)), symbol: ordered.map(symbolOf),
      size: ordered.map((row) => row.size_bytes), sizemode: "area", sizeref: areaScale,
      sizemin: SMALLEST_BUBBLE_PX / 2, line: { color: ordered.map((row) => colour(row.candidate?.is_on_front ? "ink" : "surface")), width: 1.5 },
    },
  };
}

function tradeLayout(figure, rows, limits) {
  const narrow = isNarrow(figure), ys = rows.map(accuracyOf);
  const levels = [...ys, ...(hasTeacher ? [100] : []), ...(limits.accuracy_percent ? [limits.accuracy_percent] : [])];
  const low = Math.min(...levels), high = Math.max(...levels), room = Math.max(0.6, (high - low) * 0.14);
  const range = [low - room, high + 1.8 * room];
  const yTitle = hasTeacher ? `${MEASURE.heading} relative to the teacher` : MEASURE.heading;
  const latencies = [...rows.map((row) => row.median_ms), ...(limits.latency_ms ? [limits.latency_ms] : [])];
  return layout({
    margin: { l: 12, r: 12, t: narrow ? 34 : 16, b: 12 },
    xaxis: latencyAxis(latencies, narrow), yaxis: axis(narrow ? "" : plain(yTitle), { range, ticksuffix: " %", nticks: 7 }),
    shapes: [...(hasTeacher ? [level(100, colour("muted"), "dot")] : []), ...limitLines(limits)],
    annotations: [...limitNames(limits), ...(narrow ? narrowTitle() : names(rows, limits, figure, range, latencies))],
  });
}

function latencyAxis(values, narrow) {
  const title = narrow ? "" : "Median latency per call, ms";
  if (byId("log-latency").checked) return logAxis(title, values, " ms", narrow);
  return axis(title, { range: [0, Math.max(...values) * 1.08], nticks: narrow ? 5 : 9 });
}

const onAxis = (latency) => (byId("log-latency").checked ? Math.log10(latency) : latency);

// On a phone the axes' titles would take the room of the figure.
function narrowTitle() {
  return [{ showarrow: false, xref: "paper", yref: "paper", font: { size: 12, color: colour("muted") }, text: `↑ ${hasTeacher ? "% of the teacher" : plain(MEASURE.title)}   → median, ms`, x: 0, y: 1, yshift: 24, xanchor: "left" }];
}

function level(y, ink, dash) {
  return { type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, layer: "below", line: { color: ink, width: 1, dash } };
}

function limitLines(limits) {
  const ink = colour("accent"), lines = [];
  if (limits.accuracy_percent) lines.push({ ...level(limits.accuracy_percent, ink, "dash"), layer: "above", name: "accuracy_percent" });
  if (limits.latency_ms) lines.push({ type: "line", name: "latency_ms", yref: "paper", y0: 0, y1: 1, x0: limits.latency_ms, x1: limits.latency_ms, line: { color: ink, width: 1.5, dash: "dash" } });
  return lines;
}

function limitNames(limits) {
  const look = { showarrow: false, bgcolor: colour("surface"), font: { size: 12, color: colour("accent") } }, named = [];
  if (limits.accuracy_percent) named.push({ ...look, text: `at least ${limits.accuracy_percent} %`, xref: "paper", x: 1, xanchor: "right", y: limits.accuracy_percent, yanchor: "top" });
  if (limits.latency_ms) named.push({ ...look, text: `at most ${limits.latency_ms} ms`, yref: "paper", y: 0, yanchor: "bottom", x: onAxis(limits.latency_ms), xanchor: "right" });
  return named;
}

// Named on the figure: the teacher, and the best inside the budget. All others tell their name when pointed at.
function names(rows, limits, figure, range, latencies) {
  const visible = rows.filter((row) => !hidden.has(row.format)), named = [];
  const teacher = visible.find((row) => row.role === "teacher" && row.format === "eager");
  const winner = Object.keys(limits).length ? winnerIn(visible, limits) : null;
  const middle = (onAxis(Math.min(...latencies)) + onAxis(Math.max(...latencies))) / 2;
  const inHalf = (text) => plain(shortened(text, figure.clientWidth / 2 - 40, 13));
  if (teacher) named.push([teacher, inHalf(`teacher: ${teacher.name}`)]);
  if (winner && winner !== teacher) named.push([winner, inHalf(called(winner))]);
  return named.map(([row, text], line) => {
    const side = onAxis(row.median_ms) > middle ? "right" : "left";
    return {
      text, x: onAxis(row.median_ms), y: accuracyOf(row), ...leader(accuracyOf(row), range, figure, line),
      xanchor: side, xshift: side === "left" ? -3 : 3, bgcolor: colour("surface"), font: { size: 13, color: colour("ink") },
    };
  });
}

// A thin line from the bubble up to a name at the top, where no bubble lies.
function leader(y, range, figure, line) {
  const height = figure.clientHeight - AXIS_ROOM_PX;
  const rise = ((range[1] - y) / (range[1] - range[0])) * height;
  return { showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: colour("muted"), ax: 0, ay: -rise + 12 + line * LINE_PX, standoff: 0 };
}

/* Legend ------------------------------------------------------------------------------------------------------- */

function buildLegend() {
  const legend = byId("legend");
  for (const format of formatsOf(RANKED)) {
    const button = document.createElement("button"), dot = document.createElement("span");
    dot.className = "dot";
    dot.dataset.format = format;
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(dot, format);
    button.addEventListener("click", () => toggleFormat(format, button));
    legend.append(button);
  }
  const shapes = [...new Set(RANKED.map((row) => row.precision))].map((one) => `${SHAPES[one] || "✚"} ${one}`);
  legend.append(...[...shapes, "area: file size"].map((text) => element("span", text, "key")));
}

function toggleFormat(format, button) {
  if (!hidden.delete(format)) hidden.add(format);
  button.setAttribute("aria-pressed", String(!hidden.has(format)));
  draw();
}
