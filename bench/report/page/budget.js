// What a model may cost: limits the reader sets, which rows fit, and which of them is the best, in words.

const LIMITS = {
  latency_ms: {
    word: "latency", unit: "ms", excess: (row, limit) => highOf(row) / limit, atBest: (row, limit) => lowOf(row) / limit, of: (row) => highOf(row),
  },
  accuracy_percent: { 
    word: MEASURE.title, unit: "%", excess: (row, limit) => limit / leastAccuracyOf(row), atBest: (row, limit) => limit / mostAccuracyOf(row), of: (row) => leastAccuracyOf(row),
  },
  size_mb: { word: "size", unit: "MB", excess: (row, limit) => megabytes(row.size_bytes) / limit, of: (row) => megabytes(row.size_bytes) },
};

// Ends of intervals: a limit has to hold for the worse one.
const highOf = (row) => row.candidate?.high_ms ?? row.median_high_ms;
const lowOf = (row) => row.candidate?.low_ms ?? row.median_low_ms;

const hasTeacher = RANKED.some((row) => row.base_kind === "teacher");
// In percent: of the teacher's accuracy where there is a teacher, else of the images.
const accuracyOf = (row) => {
  const { relative_accuracy, accuracy } = row.candidate ?? row;
  return inPercent(hasTeacher ? relative_accuracy : accuracy);
};
const leastAccuracyOf = (row) => (hasTeacher && row.candidate ? inPercent(row.candidate.least_relative_accuracy) : accuracyOf(row));
const mostAccuracyOf = (row) => (hasTeacher && row.candidate ? inPercent(row.candidate.most_relative_accuracy) : accuracyOf(row));

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

// Whether no interval lies across a limit that it would have to keep.
const mayFit = (row, limits) => broken(row, limits).every((key) => LIMITS[key].atBest?.(row, limits[key]) <= 1);

const candidatesAmong = (rows) => rows.filter((row) => row.candidate);
const byAccuracy = (row, other) => accuracyOf(other) - accuracyOf(row) || row.median_ms - other.median_ms;
const tiedIn = (rows) => {
  const [best] = [...rows].sort(byAccuracy);
  return rows.filter((row) => areTied(best, row));
};

// Of the most accurate and those not shown to differ from it the winner, then the others by the upper end of their
// latency; then all others by accuracy. Whoever is faster in turn overtakes whoever is only known better.
function ranked(rows) {
  if (!rows.length) return [];
  const tied = tiedIn(rows).sort((row, other) => highOf(row) - highOf(other)), areIn = new Set(tied);
  const winner = tied.reduce((first, row) => (overtakes(row, first) ? row : first), tied[0]);
  return [winner, ...tied.filter((row) => row !== winner), ...rows.filter((row) => !areIn.has(row)).sort(byAccuracy)];
}

// Who is not shown to be outside and, if inside, not shown to lose.
function contenders(candidates, winner, limits) {
  const [bestInside] = candidates.filter((row) => fits(row, limits)).sort(byAccuracy);
  return candidates.filter((row) => {
    if (row === winner || !mayFit(row, limits)) return false;
    // The most accurate if this one were inside.
    const best = bestInside && byAccuracy(bestInside, row) <= 0 ? bestInside : row;
    return areTied(best, row) && !(winner && areTied(best, winner) && isShownFaster(winner, row));
  });
}

const winnerIn = (rows, limits) => ranked(candidatesAmong(rows).filter((row) => fits(row, limits)))[0] || null;

/* In words ----------------------------------------------------------------------------------------------------- */

const called = (row) => `${row.name}, ${row.kind}${row.validity === "valid" ? "" : ` (${row.validity})`}`;
const costs = (row) =>
  `${milliseconds(row.median_ms)} (at most ${milliseconds(highOf(row))}), ${fixed(accuracyOf(row), 1)} %${hasTeacher ? " of the teacher’s" : ""} ${MEASURE.title}, ${fixed(megabytes(row.size_bytes), 2)} MB`;

function gives(winner, other, what) {
  const points = accuracyOf(other) - accuracyOf(winner), ratio = other.median_ms / winner.median_ms;
  const tie = areTied(winner, other) ? ", which is not shown to be a difference," : "";
  const accuracy = points > 0.05 ? `${fixed(points, 1)} points ${MEASURE.less}` : points < -0.05 ? `${fixed(-points, 1)} points ${MEASURE.more}` : MEASURE.alike;
  const speed = ratio >= 1 ? `${fixed(ratio, 2)} × faster` : `${fixed(1 / ratio, 2)} × slower`;
  return `Against ${what}, ${called(other)}, it is ${accuracy}${tie} and ${speed}.`;
}

function notConsidered(rows) {
  const counts = new Map();
  for (const excluded of rows.map((row) => row.excluded).filter(Boolean)) counts.set(excluded, (counts.get(excluded) || 0) + 1);
  return counts.size ? `Not considered: ${[...counts].map(([why, count]) => `${plural(count, "row")} (${why})`).join(", ")}.` : "";
}

// What fits best, or that nothing does, and why.
function answerParts(rows, limits) {
  const candidates = candidatesAmong(rows), aside = notConsidered(rows);
  if (!candidates.length) return ["", "No row here can be chosen.", aside];
  if (!Object.keys(limits).length) return ["", `Set a limit to see which of ${plural(candidates.length, "model")} fits best.`, aside];
  const fitting = candidates.filter((row) => fits(row, limits)), winner = winnerIn(rows, limits);
  const open = whatIsOpen(contenders(candidates, winner, limits), limits);
  if (!winner) return [open ? "Nothing fits for sure." : "Nothing fits.", `${whatRulesOut(candidates, limits)}${open}`, aside];
  const second = ranked(fitting.filter((row) => row !== winner))[0], best = [...candidates].sort(byAccuracy)[0];
  const words = [`fits best: ${costs(winner)}. ${fitting.length} of ${plural(candidates.length, "model")} fit${fitting.length === 1 ? "s" : ""}.`];
  if (second) words.push(gives(winner, second, second === best ? `the runner-up and ${MEASURE.most}` : "the runner-up"));
  if (best !== winner && best !== second) words.push(gives(winner, best, `the ${MEASURE.most} of all`));
  return [called(winner), `${words.join(" ")}${open}`, aside];
}

// Who might win if latencies or accuracies were known better, and what would tell.
const MOST_NAMED = 3;
function whatIsOpen(open, limits) {
  if (!open.length) return "";
  const names = open.slice(0, MOST_NAMED).map(called).join("; ") + (open.length > MOST_NAMED ? `; and ${open.length - MOST_NAMED} more` : "");
  return ` Might win if known better: ${names}. To tell, ${remedy(open, limits)}.`;
}

function remedy(open, limits) {
  const ofAccuracy = (row) => broken(row, limits).includes("accuracy_percent");
  const ofTime = (row) => fits(row, limits) || broken(row, limits).some((key) => key !== "accuracy_percent");
  const remedies = [], fewImages = open.filter(ofAccuracy), restless = open.filter(ofTime);
  if (fewImages.length) remedies.push(`export with more held-out images than ${Math.min(...fewImages.map((row) => row.accuracy_images))}`);
  if (restless.length) {
    const launches = Math.min(...restless.map((row) => row.launch_count)), quieter = restless.some((row) => row.validity !== "valid");
    remedies.push(`measure again with --launches ${launches < 5 ? 5 : 2 * launches}${quieter ? ", on a quieter machine" : ""}`);
  }
  return remedies.join(", and ");
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
