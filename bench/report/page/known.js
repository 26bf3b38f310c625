// What is known of two rows: whether their accuracies and latencies are shown to differ, as bench.compare.choice has it.

const Z = 1.959964;

const right = DATA.answers.map(({ right }) =>
  Uint32Array.from(right.match(/.{1,8}/g), (digits) => parseInt(digits.padEnd(8, "0"), 16)));

function bitsIn(word) {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

// Images that one answers rightly and the other does not, of those that both answered; null unless they are the same.
function answeredApart(one, other) {
  const ours = DATA.answers[one.answers], theirs = DATA.answers[other.answers];
  if (!ours || !theirs || ours.order_sha256 !== theirs.order_sha256) return null;
  const images = Math.min(ours.num_images, theirs.num_images), last = images % 32;
  let won = 0, lost = 0;
  for (let place = 0; 32 * place < images; place++) {
    const shared = 32 * (place + 1) > images ? -1 << (32 - last) : -1;
    const us = right[one.answers][place], them = right[other.answers][place];
    won += bitsIn(us & ~them & shared);
    lost += bitsIn(them & ~us & shared);
  }
  return { images, won, lost };
}

function accuracyVariance({ accuracy, images }) {
  const share = (accuracy * images + 1) / (images + 2);
  return (share * (1 - share)) / (images + 2);
}

// The largest share of images on which two exports of one checkpoint can differ, or null.
function mostApart(row, otherRow) {
  const one = row.candidate, other = otherRow.candidate;
  const alike = one.images === other.images && one.is_measured === other.is_measured && row.checkpoint_sha256 === otherRow.checkpoint_sha256;
  return alike && one.agreement !== null && other.agreement !== null ? 2 - one.agreement - other.agreement : null;
}

// Whether two accuracies are not shown to differ.
function areTied(row, otherRow) {
  const one = row.candidate, other = otherRow.candidate, apart = answeredApart(one, other);
  if (apart) return Math.abs(apart.won - apart.lost) / apart.images <= (Z * Math.sqrt(apart.won + apart.lost + 1)) / (apart.images + 2);
  const drawn = accuracyVariance(one) + accuracyVariance(other), most = mostApart(row, otherRow);
  const paired = most === null ? Infinity : (most * one.images + 1) / (one.images + 2) ** 2;
  return Math.abs(one.accuracy - other.accuracy) <= Z * Math.sqrt(Math.min(drawn, paired));
}

// 97.5 % quantile of Student's t, as bench.timing.intervals has it.
function studentT(freedom) {
  if (freedom === Infinity) return Z;
  const few = [12.706, 4.303, 3.182, 2.776];
  if (freedom < 4) {
    const from = Math.max(1, Math.min(3, Math.floor(freedom)));
    return few[from - 1] + (Math.max(1, freedom) - from) * (few[from] - few[from - 1]);
  }
  const parts = [
    (Z ** 3 + Z) / 4,
    (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / 96,
    (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / 384,
    (79 * Z ** 9 + 776 * Z ** 7 + 1482 * Z ** 5 - 1920 * Z ** 3 - 945 * Z) / 92160,
  ];
  return parts.reduce((sum, part, place) => sum + part / freedom ** (place + 1), Z);
}

// The upper end of the ratio of two medians that were not measured in turn.
function ratioHigh(one, other) {
  const freedomOf = (row) => row.freedom ?? Infinity;
  const parts = one.log_error ** 4 / freedomOf(one) + other.log_error ** 4 / freedomOf(other);
  const freedom = parts ? (one.log_error ** 2 + other.log_error ** 2) ** 2 / parts : Infinity;
  return (one.median_ms / other.median_ms) * Math.exp(studentT(freedom) * Math.hypot(one.log_error, other.log_error));
}

function isShownFaster(row, otherRow) {
  const one = row.candidate, other = otherRow.candidate;
  if (one.median_ms >= other.median_ms) return false;
  if (one.high_ms < other.low_ms) return true;
  return one.in_turn.includes(otherRow.index) ? one.faster_than.includes(otherRow.index) : ratioHigh(one, other) < 1;
}

// Whether a row counts as faster than one whose latency has the lower upper end.
const overtakes = (row, other) =>
  row.candidate.in_turn.includes(other.index) ? other.candidate.overtaken_by.includes(row.index) : isShownFaster(row, other);
