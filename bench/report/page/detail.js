// One row in full: its samples launch by launch, all calls as a histogram, the state of the machine.

const yesOrNo = { true: "yes", false: "no" };
const told = (value, write) => (value === null || value === undefined ? null : write(value));
const shares = (value) => told(value, (share) => percent(share, 1));
const span = (interval) => told(interval, ([low, high]) => `${fixed(inPercent(low), 1)} to ${fixed(inPercent(high), 1)} %`);
let opened = null;

function openDetail(row) {
  opened = row;
  hideTip();
  byId("detail-kind").textContent = `${row.kind}, ${row.runtime}`;
  byId("detail-name").textContent = row.name;
  byId("detail-label").textContent = row.validity;
  byId("detail-label").className = `badge ${row.validity}`;
  byId("detail-reason").textContent = [row.reason, ...row.marks.map((mark) => mark.reason)].filter(Boolean).join("; ");
  fillFacts("detail-figures", figuresOf(row));
  fillFacts("detail-conditions", conditionsOf(row));
  byId("detail-sampled").hidden = !row.detail.histogram;
  fillLaunches(row.detail.launches);
  const dialog = byId("detail");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  drawDetail();
}

function figuresOf(row) {
  return [
    ["Median per call", told(row.median_ms, () => `${milliseconds(row.median_ms)} (${digits(row.median_low_ms, 4)} to ${digits(row.median_high_ms, 4)})`)],
    ["Launches differ by", shares(row.between_launches)],
    ["p10, p90, p99", row.p10_ms === null ? null : [row.p10_ms, row.p90_ms, row.p99_ms].map((one) => digits(one, 4)).join(", ") + " ms"],
    ["Throughput", told(row.images_per_s, (rate) => digits(rate, 3, " images/s"))],
    ["Speed-up", told(row.speed_up, (ratio) => `${fixed(ratio, 2)} × (${row.speed_up_interval.map((end) => digits(end, 4)).join(" to ")}) against ${row.base_name} in eager PyTorch`)],
    [`${MEASURE.heading} at export`, told(row.accuracy, () => `${percent(row.accuracy, 2)} ${MEASURE.behind} ${plural(row.accuracy_images, "image")}${row.accuracy_interval ? `, ${span(row.accuracy_interval)}` : ""}`)],
    [`${MEASURE.heading} measured here`, told(row.measured_accuracy, () => `${percent(row.measured_accuracy, 2)} of ${plural(row.measured_images, "image")}, ${span(row.measured_accuracy_interval)}`) || row.measured_note || null],
    ["Agreement measured here", told(row.measured_agreement, () => `${percent(row.measured_agreement, 2)}, ${span(row.measured_agreement_interval)}`)],
    ...answersOf(row.detail.answered),
    ["Outputs of one input", row.detail.repeated],
    ["Whole path", told(row.detail.path, ({ stages, pictures }) => `${milliseconds(row.path_ms)} for ${pictures}: ${stages.map(([stage, ms]) => `${stage} ${milliseconds(ms)}`).join(", ")}`)],
    [`Relative ${MEASURE.title}`, told(row.relative_accuracy, () => `${percent(row.relative_accuracy, 1)}${row.relative_accuracy_interval ? `, ${span(row.relative_accuracy_interval)}, paired by image` : ""}`)],
    ["Size", fixed(megabytes(row.size_bytes), 2, " MB")],
    ["Parameters", `${fixed(row.num_parameters / 1e6, 2)} M`],
    ["Multiply-accumulates", told(row.macs, (macs) => digits(macs / 1e6, 4, " M per image"))],
    ["Peak memory", told(row.peak_memory_bytes, (bytes) => fixed(megabytes(bytes), 0, " MB"))],
    ["Memory of the model", told(row.model_memory_bytes, (bytes) => fixed(megabytes(bytes), 1, " MB"))],
    ["Load", told(row.load_ms, milliseconds)],
    ["First call", told(row.first_inference_ms, milliseconds)],
  ];
}

function answersOf(answers) {
  if (!answers) return [];
  const more = (named, count) => (count > named.length ? ` and ${whole(count - named.length)} more` : "");
  const changed = answers.changed.map(({ picture, eager, here }) => `${picture} (${eager} → ${here ?? "not decoded"})`);
  return [
    ["Eager on the same pictures", told(answers.eager_accuracy, (share) => `${percent(share, 2)}; right only here ${answers.only_here}, only in eager ${answers.only_eager}; p = ${digits(answers.p_value, 2)} that both are equally good`)],
    ["As on the computer", told(answers.host_agreement, (share) => `${percent(share, 2)} of the answers`)],
    ["Confidence", told(answers.confidence_shift, (shift) => `${shift < 0 ? "−" : "+"}${fixed(Math.abs(inPercent(shift)), 1)} points against eager`)],
    ["Recall by class", answers.recalls.map(([name, share]) => `${name} ${percent(share, 1)}`).join(", ")],
    ["Changed answers", changed.length ? `${whole(answers.num_changed)}: ${changed.join(", ")}${more(changed, answers.num_changed)}` : null],
    ["Not decoded there", answers.num_unreadable ? `${answers.unreadable.join(", ")}${more(answers.unreadable, answers.num_unreadable)}` : null],
  ];
}

function conditionsOf(row) {
  const { conditions, ...detail } = row.detail, mhz = (value) => told(value, (clock) => digits(clock, 4, " MHz"));
  return [
    ["Where", row.conditions],
    ["When", row.utc_time.replace("T", " ").replace("+00:00", " UTC")],
    ["Load average before", told(conditions.load_average_before, (load) => fixed(load, 2))],
    ["Other work before", shares(conditions.busy_share_before)],
    ["Clock before", mhz(conditions.cpu_mhz_before)],
    ["Clock after", mhz(conditions.cpu_mhz_after)],
    ["Temperature before", told(conditions.temperature_celsius, (heat) => fixed(heat, 1, " °C"))],
    ["Thermal status", told(conditions.thermal_status, String)],
    ["Battery before", told(conditions.battery_percent, (charge) => `${charge} %${conditions.battery_celsius === null ? "" : `, ${fixed(conditions.battery_celsius, 1)} °C`}`)],
    ["Clocks held", conditions.fixed_performance ? "yes" : null],
    ["Threads", `${row.threads} asked for, ${detail.threads_active ?? "not told"} active`],
    ["Accelerator", told(detail.accelerator_requested, (asked) => `${asked} asked for, ${detail.accelerator_active ?? "none"} active`)],
    ["Input", told(detail.input, (kind) => (kind === "golden" ? "golden input; its output was checked" : "random values"))],
    ["Session", `${detail.run_id.slice(0, 8)}${detail.seed === null ? "" : `, seed ${detail.seed}`}`],
    ["Toolkit", detail.toolkit_version],
  ];
}

function fillFacts(id, facts) {
  byId(id).replaceChildren(...facts.filter(([, value]) => value !== null).map(([what, value]) => {
    const pair = document.createElement("div");
    pair.append(element("dt", what), element("dd", value));
    return pair;
  }));
}

function fillLaunches(launches) {
  const columns = [
    ["Launch", (_, place) => String(place + 1)],
    ["Calls", (one) => whole(one.sample_count)],
    ["Median ms", (one) => digits(one.median_ms, 4)],
    ["Load ms", (one) => digits(one.load_ms, 4)],
    ["First call ms", (one) => digits(one.first_inference_ms, 4)],
    ["Warm-up", (one) => `${plural(one.warmup_count, "call")}, ${fixed(one.warmup_s, 1)} s`],
    ["Steady", (one) => (one.steady === null ? "–" : yesOrNo[one.steady])],
    ["Other work", (one) => percent(one.other_work_share)],
    ["Stolen", (one) => percent(one.stolen_share)],
    ["Waiting", (one) => percent(one.waiting_share)],
  ].filter(([, write]) => launches.some((one, place) => write(one, place) !== "–"));
  const line = (tag, texts) => {
    const made = document.createElement("tr");
    made.append(...texts.map((text) => element(tag, text)));
    return made;
  };
  const head = document.createElement("thead"), body = document.createElement("tbody");
  head.append(line("th", columns.map(([title]) => title)));
  body.append(...launches.map((one, place) => line("td", columns.map(([, write]) => write(one, place)))));
  byId("launches").replaceChildren(head, body);
}

/* Figures ------------------------------------------------------------------------------------------------------ */

function drawDetail() {
  if (!opened || !byId("detail").open || !opened.detail.histogram) return;
  drawTrace(opened);
  drawHistogram(opened);
}

// Calls slower than the histogram's end would press all others flat; they stand at the upper edge as triangles.
function drawTrace(row) {
  const { start_ms, width_ms, counts } = row.detail.histogram, end_ms = start_ms + counts.length * width_ms;
  const top = Math.max(end_ms, ...row.detail.launches.map((launch) => launch.median_ms)), room = 0.08 * (top - start_ms);
  const traces = [], bounds = [];
  let start = 0, above = 0;
  row.detail.launches.forEach((launch, place) => {
    // Thinned points stand for equal stretches of calls.
    const stretch = launch.sample_count / launch.points.length, ink = colour(place % 2 ? "muted" : "accent");
    const isAbove = launch.points.map((sample) => sample > top);
    above += isAbove.filter(Boolean).length;
    traces.push({
      type: "scatter", mode: "markers", y: launch.points.map((sample) => Math.min(sample, top + room)), customdata: launch.points,
      x: launch.points.map((_, at) => start + Math.ceil((at + 0.5) * stretch)), cliponaxis: false,
      marker: { size: isAbove.map((one) => (one ? 7 : 3.5)), symbol: isAbove.map((one) => (one ? "triangle-up" : "circle")), color: ink, opacity: 0.6 },
      hovertemplate: `launch ${place + 1}, call %{x:,}<br>%{customdata} ms<extra></extra>`,
    });
    const end = start + launch.sample_count;
    traces.push({ type: "scatter", mode: "lines", x: [start, end], y: [launch.median_ms, launch.median_ms], line: { color: colour("ink"), width: 1.5 }, hoverinfo: "skip" });
    if (start) bounds.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: start, x1: start, line: { color: colour("line"), width: 1 } });
    start = end;
  });
  Plotly.react(byId("trace"), traces, layout({
    margin: { l: 8, r: 8, t: 8, b: 8 }, shapes: bounds, xaxis: axis("Call", { range: [0, start], nticks: 6, tickformat: ",d", showgrid: false }),
    yaxis: axis("", { ticksuffix: " ms", nticks: 5, range: [start_ms - room, top + room] }),
  }), LOOK);
  byId("trace-note").textContent = traceNote(row, above);
}

function traceNote(row, above) {
  const drawn = row.detail.launches.reduce((sum, launch) => sum + launch.points.length, 0);
  const launches = row.launch_count === 1 ? "one launch" : `${row.launch_count} launches, which change colour`;
  const thinned = drawn < row.samples ? ` Drawn are the fastest and the slowest of every few calls, ${whole(drawn)} of ${whole(row.samples)}.` : "";
  const edge = above ? " Triangles at the upper edge are slower calls." : "";
  return `${plural(row.samples, "call")} in ${launches}. The line across is the median of the launch.${thinned}${edge}`;
}

function drawHistogram(row) {
  const { start_ms, width_ms, counts, beyond, slowest_ms } = row.detail.histogram, tall = Math.max(...counts);
  const bars = {
    type: "bar", x: counts.map((_, bin) => start_ms + (bin + 0.5) * width_ms), y: counts, width: width_ms * 0.94,
    marker: { color: colour("accent") }, customdata: counts.map((_, bin) => [start_ms + bin * width_ms, start_ms + (bin + 1) * width_ms].map((end) => digits(end, 4)).join(" to ")),
    hovertemplate: "%{y:,} calls<br>%{customdata} ms<extra></extra>",
  };
  const at = (x, dash, width) => ({ type: "line", x0: x, x1: x, y0: 0, y1: tall * 1.06, line: { color: colour("ink"), width, dash } });
  const interval = { type: "rect", x0: row.median_low_ms, x1: row.median_high_ms, y0: 0, y1: tall * 1.06, fillcolor: colour("ink"), opacity: 0.14, line: { width: 0 } };
  const last = start_ms + counts.length * width_ms;
  Plotly.react(byId("histogram"), [bars], layout({
    margin: { l: 8, r: 8, t: 8, b: 8 }, shapes: [interval, at(row.median_ms, "solid", 1.5)],
    xaxis: axis("Milliseconds per call", { range: [Math.min(start_ms, row.median_low_ms) - width_ms, Math.max(last, row.median_high_ms) + width_ms], nticks: 6, showgrid: false }),
    yaxis: axis("", { nticks: 4, tickformat: ",d" }),
  }), LOOK);
  const tail = beyond ? ` ${plural(beyond, "slower call")}, up to ${milliseconds(slowest_ms)}, ${beyond === 1 ? "lies" : "lie"} beyond the right end.` : "";
  const one = row.knows_launches ? "" : " From one launch it is not known how far another would be off.";
  byId("histogram-note").textContent = `All calls. The line is the median, the shade its 95 % interval.${one}${tail}`;
}

function startDetail() {
  const dialog = byId("detail");
  byId("detail-close").addEventListener("click", () => dialog.close());
  // A press beside the panel lands on the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
