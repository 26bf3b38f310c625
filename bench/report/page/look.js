// Plotly in the page's colours and type.

const FORMATS = ["eager", "torchscript", "executorch", "onnx", "litert", "coreml"];
const SYMBOLS = { fp32: "circle", fp16: "square", int8: "diamond" };
const SHAPES = { fp32: "●", fp16: "■", int8: "◆" };
const NARROW_PX = 620;
const LOOK = { displayModeBar: false, responsive: false, scrollZoom: false };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const formatColour = (format) => colour(format) || colour("muted");
const isNarrow = (figure) => figure.clientWidth < NARROW_PX;
// Formats and precisions this page does not know yet are drawn, too.
const formatsOf = (rows) => [...new Set([...FORMATS, ...rows.map((row) => row.format)])].filter((one) => rows.some((row) => row.format === one));
const symbolOf = (row) => SYMBOLS[row.precision] || "cross";

const RULER = document.createElement("canvas").getContext("2d");

function widthPx(text, fontPx, weight = 400) {
  RULER.font = `${weight} ${fontPx}px ${getComputedStyle(document.body).fontFamily}`;
  return RULER.measureText(text).width;
}

// The middle of a long name makes way: names that belong together differ at their ends. Pointing tells all of it.
function shortened(name, roomPx, fontPx, weight) {
  if (widthPx(name, fontPx, weight) <= roomPx) return name;
  const keep = (count) => `${name.slice(0, Math.ceil(count / 2))}…${name.slice(name.length - Math.floor(count / 2))}`;
  let kept = 2, tooMany = name.length;
  while (tooMany - kept > 1) {
    const middle = Math.floor((kept + tooMany) / 2);
    if (widthPx(keep(middle), fontPx, weight) <= roomPx) kept = middle; else tooMany = middle;
  }
  return keep(kept);
}

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

// 1, 2, 5, 10 … around the values: few enough to read, and never powers of ten alone.
function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of [1, 2, 5]) ticks.push(Number((step * 10 ** power).toPrecision(6)));
  }
  return ticks;
}

function logAxis(title, values, unit, narrow) {
  const least = Math.min(...values), most = Math.max(...values);
  const ticks = logTicks(least, most), low = Math.log10(least), high = Math.log10(most);
  const room = Math.max(0.12, (narrow ? 0.12 : 0.07) * (high - low));
  return axis(title, {
    type: "log", range: [low - room, high + room], tickvals: ticks, tickangle: 0,
    ticktext: ticks.map((tick) => `${tick}${narrow ? "" : unit}`),
  });
}

function hoverText(row) {
  const lines = [
    `<b>${plain(row.name)}</b>${row.role === "teacher" ? " (teacher)" : ""}`,
    `${plain(row.kind)}, ${plain(row.runtime)}`,
    `median ${fixed(row.median_ms, 3, " ms")} ± ${percent(reach(row))}   p10 ${fixed(row.p10_ms, 3)}   p90 ${fixed(row.p90_ms, 3)}`,
    `speed-up ${fixed(row.speed_up, 2, " ×")}   size ${fixed(megabytes(row.size_bytes), 2, " MB")}`,
    `${plain(MEASURE.title)} ${percent(row.accuracy)}   relative ${percent(row.relative_accuracy)}`,
    `${row.validity}, ${plural(row.samples, "sample")} in ${row.launch_count === 1 ? "1 launch" : `${row.launch_count} launches`}`,
  ];
  if (!row.base_in_same_run) lines.push("base measured in another session");
  return lines.join("<br>");
}

// A press on a mark opens its row. Plotly keeps listeners over redraws, so they are added once per figure.
function openOnPress(figure) {
  figure.removeAllListeners?.("plotly_click");
  figure.on("plotly_click", (event) => {
    const index = event.points[0].customdata;
    if (index !== undefined) openDetail(DATA.rows[index]);
  });
}
