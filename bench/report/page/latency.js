// Every row's median with its interval, and the range of its calls.

const LABEL_SHARE = 0.4;

function drawLatency() {
  const figure = byId("latency"), narrow = isNarrow(figure);
  const rows = rowsUnderConditions().filter((row) => !hidden.has(row.format)).sort((one, other) => other.median_ms - one.median_ms);
  const step = narrow ? 40 : 27;
  figure.style.height = `${Math.max(1, rows.length) * step + 70}px`;
  figure.hidden = !rows.length;
  if (!rows.length) return;
  const ends = rows.flatMap((row) => [row.p10_ms ?? row.median_ms, row.median_low_ms, row.median_high_ms, row.p90_ms ?? row.median_ms]);
  const traces = formatsOf(rows).flatMap((format) => ranges(format, rows));
  const ticks = rows.map((row) => label(row, narrow ? figure.clientWidth - 4 : LABEL_SHARE * figure.clientWidth, narrow ? 11 : 12.5));
  Plotly.react(figure, traces, layout({
    margin: { l: narrow ? 2 : 12, r: narrow ? 48 : 72, t: 12, b: 12 }, height: figure.clientHeight,
    xaxis: logAxis("Milliseconds per call", ends, " ms", narrow),
    yaxis: axis("", {
      automargin: !narrow, tickmode: "array", tickvals: rows.map((_, place) => place), ticktext: ticks, showticklabels: !narrow,
      range: [-0.6, rows.length - (narrow ? 0.3 : 0.4)], tickfont: { color: colour("ink"), size: 12.5 }, ticklabelstandoff: 10,
    }),
    annotations: [...rows.map(medianText), ...(narrow ? ticks.map(nameAbove) : [])],
  }), LOOK);
  openOnPress(figure);
}

// Format and precision are always whole, the name has what room is left.
function label(row, roomPx, fontPx) {
  const kindPx = widthPx(`  ${row.kind}`, fontPx, 700);
  return `${plain(shortened(row.name, 0.96 * roomPx - kindPx, fontPx))}  <b>${plain(row.kind)}</b>`;
}

function medianText(row, place) {
  return { text: fixed(row.median_ms, row.median_ms < 10 ? 2 : 1), xref: "paper", x: 1, y: place, xshift: 8, xanchor: "left", showarrow: false, font: { size: 12.5 } };
}

function nameAbove(text, place) {
  return { text, xref: "paper", x: 0, y: place, yshift: 15, xanchor: "left", showarrow: false, font: { size: 11 } };
}

function ranges(format, rows) {
  const places = rows.map((_, place) => place).filter((place) => rows[place].format === format);
  const own = places.map((place) => rows[place]), ink = formatColour(format);
  const bar = (low, high, look) => ({
    type: "data", symmetric: false, width: 0, color: ink, ...look,
    array: own.map((row) => (row[high] === null ? 0 : row[high] - row.median_ms)),
    arrayminus: own.map((row) => (row[low] === null ? 0 : row.median_ms - row[low])),
  });
  const points = { type: "scatter", mode: "markers", name: format, x: own.map((row) => row.median_ms), y: places };
  return [
    { ...points, hoverinfo: "skip", marker: { size: 1, color: ink }, error_x: bar("median_low_ms", "median_high_ms", { thickness: 8 }), opacity: 0.55 },
    {
      ...points, text: own.map(hoverText), customdata: own.map((row) => row.index), hovertemplate: "%{text}<extra></extra>",
      error_x: bar("p10_ms", "p90_ms", { thickness: 1.5 }),
      marker: { color: ink, size: 10, symbol: own.map(symbolOf), line: { color: colour("surface"), width: 1.5 } },
    },
  ];
}
