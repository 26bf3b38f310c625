// What a model may cost: limits the reader sets, which rows fit, and which of them is the best, in words.

const LIMITS = {
  latency_ms: { word: "latency", unit: "ms", excess: (row, limit) => row.median_high_ms / limit, of: (row) => row.median_high_ms },
  accuracy_percent: { word: "accuracy", unit: "%", excess: (row, limit) => limit / accuracyOf(row), of: (row) => accuracyOf(row) },
  size_mb: { word: "size", unit: "MB", excess: (row, limit) => megabytes(row.size_bytes) / limit, of: (row) => megabytes(row.size_bytes) },
};

// Whether a noisy or drifting row may be chosen, by the upper end of its interval.
const noisyCounts = () => byId("noisy-counts").checked;
const candidateOf = (row) => (noisyCounts() ? row.candidate_if_noisy : row.candidate);
const excludedOf = (row) => (noisyCounts() ? row.excluded_if_noisy : row.excluded);

const hasTeacher = RANKED.some((row) => row.base_kind === "teacher");
// In percent: of the teacher's accuracy where there is a teacher, else of the images.
const accuracyOf = (row) => {
  const { relative_accuracy, accuracy } = candidateOf(row) ?? row;
  return inPercent(hasTeacher ? relative_accuracy : accuracy);
};

function budget() {
  const set = Object.entries(Object.fromEntries(new FormData(byId("budget"))));
  return Object.fromEntries(set.map(([key, text]) => [key, Number(text)]).filter(([, limit]) => limit > 0));
}

// A row of which the limited figure is unknown does not fit: nobody can vouch for it.
function broken(row, limits) {
  return Object.keys(limits).filter((key) => {
    const found = LIMITS[key].of(row);
    return found === null || LIMITS[key].excess(row, limits[key]) > 1;
  });
}

const fits = (row, limits) => broken(row, limits).length === 0;

const candidatesAmong = (rows) => rows.filter(candidateOf);
const byAccuracy = (one, other) => accuracyOf(other) - accuracyOf(one) || one.median_ms - other.median_ms;

// The most accurate and those not shown to differ from it, the fastest first; then all others by accuracy.
function ranked(rows) {
  const sorted = [...rows].sort(byAccuracy);
  const isTied = (row) => candidateOf(sorted[0]).tied.includes(row.index);
  return [...sorted.filter(isTied).sort((one, other) => one.median_ms - other.median_ms), ...sorted.filter((row) => !isTied(row))];
}

const winnerIn = (rows, limits) => ranked(candidatesAmong(rows).filter((row) => fits(row, limits)))[0] || null;

/* In words ----------------------------------------------------------------------------------------------------- */

const called = (row) => `${row.name}, ${row.kind}${row.validity === "valid" ? "" : ` (${row.validity})`}`;
const costs = (row) =>
  `${milliseconds(row.median_ms)} (at most ${milliseconds(row.median_high_ms)}), ${fixed(accuracyOf(row), 1)} %${hasTeacher ? " of the teacher’s accuracy" : " accuracy"}, ${fixed(megabytes(row.size_bytes), 2)} MB`;

function gives(winner, other, what) {
  const points = accuracyOf(other) - accuracyOf(winner), ratio = other.median_ms / winner.median_ms;
  const tie = candidateOf(winner).tied.includes(other.index) ? ", which is not shown to be a difference," : "";
  const accuracy = points > 0.05 ? `${fixed(points, 1)} points less accurate` : points < -0.05 ? `${fixed(-points, 1)} points more accurate` : "as accurate";
  const speed = ratio >= 1 ? `${fixed(ratio, 2)} × faster` : `${fixed(1 / ratio, 2)} × slower`;
  return `Against ${what}, ${called(other)}, it is ${accuracy}${tie} and ${speed}.`;
}

function notConsidered(rows) {
  const counts = new Map();
  for (const excluded of rows.map(excludedOf).filter(Boolean)) counts.set(excluded, (counts.get(excluded) || 0) + 1);
  return counts.size ? `Not considered: ${[...counts].map(([why, count]) => `${plural(count, "row")} (${why})`).join(", ")}.` : "";
}

// What fits best, or that nothing does, and why.
function answerParts(rows, limits) {
  const candidates = candidatesAmong(rows), aside = notConsidered(rows);
  const wouldHelp = !noisyCounts() && rows.some((row) => row.candidate_if_noisy);
  if (!candidates.length) return ["", `No row here can be chosen.${wouldHelp ? " Let noisy rows count to choose by how badly they are known." : ""}`, aside];
  if (!Object.keys(limits).length) return ["", `Set a limit to see which of ${plural(candidates.length, "model")} fits best.`, aside];
  const fitting = candidates.filter((row) => fits(row, limits)), winner = winnerIn(rows, limits);
  if (!winner) return ["Nothing fits.", whatRulesOut(candidates, limits), aside];
  const second = ranked(fitting.filter((row) => row !== winner))[0], best = [...candidates].sort(byAccuracy)[0];
  const words = [`fits best: ${costs(winner)}. ${fitting.length} of ${plural(candidates.length, "model")} fit${fitting.length === 1 ? "s" : ""}.`];
  if (second) words.push(gives(winner, second, second === best ? "the runner-up and most accurate" : "the runner-up"));
  if (best !== winner && best !== second) words.push(gives(winner, best, "the most accurate of all"));
  return [called(winner), words.join(" "), aside];
}

function whatRulesOut(candidates, limits) {
  const counts = Object.keys(limits).map((key) => [key, candidates.filter((row) => broken(row, { [key]: limits[key] }).length).length]);
  const [worst, count] = counts.sort((one, other) => other[1] - one[1])[0];
  const excess = (row) => Math.max(...Object.keys(limits).map((key) => LIMITS[key].excess(row, limits[key])));
  const nearest = [...candidates].sort((one, other) => excess(one) - excess(other))[0];
  const has = broken(nearest, limits).map((key) => `${LIMITS[key].word} ${digits(LIMITS[key].of(nearest), 4)} ${LIMITS[key].unit}`);
  return `The limit on ${LIMITS[worst].word} rules out ${count} of ${plural(candidates.length, "model")}. The nearest miss is ${called(nearest)}: ${has.join(", ")}.`;
}

function showAnswer(rows, limits) {
  const [name, words, aside] = answerParts(rows, limits);
  byId("answer").replaceChildren(...(name ? [element("strong", name), " "] : []), words, ...(aside ? [element("span", aside)] : []));
}
