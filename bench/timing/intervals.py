"""How well a median is known, and whether two medians differ: intervals that know what latencies are like.

Samples that follow one another are alike (clocks, caches, other work come in stretches), so they are resampled in
blocks (circular block bootstrap: Politis and Romano 1992). Process launches differ by more than samples within one do
(memory layout: Mytkowicz et al. 2009; Georges et al. 2007; Kalibera and Jones 2013), so launches are resampled first.
Resampling k launches shows only (k - 1) / k of their variance, and percentiles of so few values are too narrow. So the
resampling gives variances, which are corrected for that, and the interval is Student's t around the median.

On a restless machine launches come in two speeds, and t intervals of a median are then too short as soon as there are
launches enough to make them so: of five, one interval in ten missed. So the interval of a row's median also holds the
order statistics of its launches' medians that a sign test leaves (Conover 1999), whatever the launches look like.
Launches that took their bursts in turn share the machine's speed, and their ratios need no such care.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
SEED = 0
"""Of the resampling, so that the same samples always have the same interval."""

THINNED_TO = 1000
"""Samples of one launch that are resampled; of more, every n-th. That can only make an interval wider."""

Z = 1.959964
T_OF_FEW = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""97.5 % quantiles of Student's t for few degrees of freedom."""

SIGN_LEVEL = 0.0703125
"""How often the order statistics may miss; what the second and the last but one of eight launches do. Together with
Student's t, which misses elsewhere, the interval misses in fewer than 5 %."""

Launches = Sequence[Sequence[float]]
"""Samples of each process launch, all above 0 and in one unit."""

Verdict = Literal["faster", "slower", "no difference shown"]
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        knows_launches: False if there was only one launch: then it does not know how far another would be off.
        freedom: degrees of freedom behind it, as Student's t has them; infinite for one launch.
    """

    value: float
    low: float
    high: float
    knows_launches: bool
    freedom: float

    @property
    def half_width(self) -> float:
        """How far the end that is further off lies from the figure, as a share of the figure."""
        return max(self.high / self.value, self.value / self.low) - 1

    @property
    def verdict(self) -> Verdict:
        """What a ratio of new to base says: slower only if the whole interval lies above 1, faster if below."""
        if self.low > 1:
            return "slower"
        return "faster" if self.high < 1 else "no difference shown"


def median_interval(launches: Launches) -> Interval:
    """The median of all samples with its 95 % interval.

    Raises:
        ValueError: no samples.
    """
    known = paired_interval(launches)
    low, high = middle_of_launches([float(np.median(launch)) for launch in launches])
    return replace(known, low=min(known.low, low), high=max(known.high, high))


def paired_interval(turns: Launches) -> Interval:
    """The median of the ratios of all turns with its 95 % interval; each launch gives the ratios of its turns.

    Raises:
        ValueError: no ratios.
    """
    error, freedom = log_error(turns)
    return _around(_median(turns), error, freedom, knows_launches=len(turns) > 1)


def middle_of_launches(medians: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median of all launches lies, by the sign test at `SIGN_LEVEL`.

    Of fewer than five launches even the outermost leave more to chance; then both are the median.
    """
    ordered = sorted(medians)
    count, outside = len(ordered), 0.0
    cut = 0
    while cut < count // 2:
        outside += 2 * math.comb(count, cut) / 2**count
        if outside > SIGN_LEVEL:
            break
        cut += 1
    middle = float(np.median(ordered))
    return (ordered[cut - 1], ordered[-cut]) if cut else (middle, middle)


def ratio_interval(base: Launches, new: Launches) -> Interval:
    """Median of `new` / median of `base` with its 95 % interval; above 1 is slower.

    Raises:
        ValueError: one of them has no samples.
    """
    (base_error, base_freedom), (new_error, new_freedom) = log_error(base), log_error(new)
    error, freedom = _together(base_error, base_freedom, new_error, new_freedom)
    knows = len(base) > 1 and len(new) > 1
    return _around(_median(new) / _median(base), error, freedom, knows_launches=knows)


def relative_half_width(samples: Sequence[float] | NDArray[np.int64]) -> float:
    """Half the 95 % interval of the median within one launch, as a share of the median.

    By order statistics, with the number of samples that would be worth as much if they were independent. It is fast
    enough to be asked while sampling; infinite for fewer than 20 samples.
    """
    values = np.sort(np.asarray(samples, dtype=np.float64))
    count = len(values)
    if count < 20:
        return math.inf
    reach = Z * math.sqrt(count * correlation_time(np.asarray(samples, dtype=np.float64))) / 2
    low, high = max(0, math.floor(count / 2 - reach)), min(count - 1, math.ceil(count / 2 + reach))
    return float(values[high] - values[low]) / 2 / float(np.median(values))


def correlation_time(samples: Samples) -> float:
    """How many samples in a row are worth one independent one; at least 1.

    From the variance of means over blocks of √n samples, of the series "above its median or not", because that is what
    moves a median.
    """
    above = (samples > np.median(samples)).astype(np.float64)
    spread = float(above.var())
    block = max(1, math.isqrt(len(samples)))
    whole = len(samples) // block * block
    if spread == 0 or whole // block < 2:
        return 1.0
    means = above[:whole].reshape(-1, block).mean(axis=1)
    return max(1.0, block * float(means.var(ddof=1)) / spread)


def _together(error: float, freedom: float, other: float, other_freedom: float) -> tuple[float, float]:
    """Error and degrees of freedom of a difference (Welch and Satterthwaite)."""
    parts = error**4 / freedom + other**4 / other_freedom
    return math.hypot(error, other), (error**2 + other**2) ** 2 / parts if parts else math.inf


def _around(value: float, log_error: float, freedom: float, *, knows_launches: bool) -> Interval:
    factor = math.exp(student_t(freedom) * log_error)
    return Interval(value, value / factor, value * factor, knows_launches, freedom)


def student_t(freedom: float) -> float:
    """97.5 % quantile of Student's t: an expansion in 1 / freedom (Abramowitz and Stegun 26.7.5), a table below 4."""
    if freedom < 4:
        return float(np.interp(freedom, list(T_OF_FEW), list(T_OF_FEW.values())))
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    fourth = (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160
    return Z + first / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4


_KNOWN_ERRORS: dict[bytes, tuple[float, float]] = {}
"""By the hash of the samples: a page of thousands of rows asks for each several times, and need not keep them."""


def log_error(launches: Launches) -> tuple[float, float]:
    """(standard error of the logarithm of the median of all samples, degrees of freedom).

    Raises:
        ValueError: a launch without samples, or no launch.
    """
    if not launches or not all(len(launch) for launch in launches):
        raise ValueError("there is a launch without samples, or no launch at all")
    samples = [np.asarray(launch, dtype=np.float64) for launch in launches]
    key = hashlib.sha256(repr([len(launch) for launch in samples]).encode())
    for launch in samples:
        key.update(launch.tobytes())
    if key.digest() not in _KNOWN_ERRORS:
        _KNOWN_ERRORS[key.digest()] = _resampled_error(samples)
    return _KNOWN_ERRORS[key.digest()]


def _resampled_error(launches: Sequence[Samples]) -> tuple[float, float]:
    """Of `log_error`, by resampling.

    Two variances: `within`, of the median of these very launches, and `between`, what other launches would add. That
    is known from a few launches only, and so is their sum: crediting it with the many samples behind `within` called
    equal rows different in up to 9 % of simulated comparisons.
    """
    kept = [_thinned(np.log(launch)) for launch in launches]
    rng = np.random.default_rng(SEED)
    count = len(kept)
    within = float(np.var(_resampled_medians(kept, np.tile(np.arange(count), (RESAMPLES, 1)), rng), ddof=1))
    if count == 1:
        return math.sqrt(within), math.inf
    # Launches and blocks were resampled: (count - 1) / count of (between + within), and within once more.
    chosen = rng.integers(count, size=(RESAMPLES, count))
    hierarchical = float(np.var(_resampled_medians(kept, chosen, rng), ddof=1))
    between = max(0.0, (hierarchical - within) * count / (count - 1) - within)
    return math.sqrt(within + between), count - 1


def _resampled_medians(launches: Sequence[Samples], chosen: NDArray[np.int64], rng: np.random.Generator) -> Samples:
    """The median of every resample; `chosen` [resamples, launches] says which launches it is made of."""
    sizes = np.array([len(launch) for launch in launches])
    width = int(sizes.max())
    # Launches of different lengths leave gaps, which sort to the end.
    table = np.full((len(chosen), chosen.shape[1] * width), np.inf)
    for slot in range(chosen.shape[1]):
        for number, launch in enumerate(launches):
            rows = np.flatnonzero(chosen[:, slot] == number)
            table[rows, slot * width : slot * width + len(launch)] = _resample(launch, len(rows), rng)
    table.sort(axis=1)
    counts = sizes[chosen].sum(axis=1)
    rows = np.arange(len(chosen))
    return (table[rows, (counts - 1) // 2] + table[rows, counts // 2]) / 2


def _resample(samples: Samples, times: int, rng: np.random.Generator) -> Samples:
    """As many samples, drawn in blocks, so many times; a block that reaches the end goes on at the beginning."""
    size, length = len(samples), _block_length(samples)
    blocks = -(-size // length)
    starts = rng.integers(size, size=(times, blocks, 1))
    positions = (starts + np.arange(length)).reshape(times, blocks * length)[:, :size]
    return np.concatenate([samples, samples])[positions]


def _block_length(samples: Samples) -> int:
    """Long enough to hold what samples in a row have in common, short enough for ten blocks."""
    wanted = max(len(samples) ** (1 / 3), 2 * correlation_time(samples))
    return max(1, min(math.ceil(wanted), len(samples) // 10))


def _thinned(samples: Samples) -> Samples:
    return samples[:: max(1, math.ceil(len(samples) / THINNED_TO))]


def _median(launches: Launches) -> float:
    return float(np.median(np.concatenate([np.asarray(launch, dtype=np.float64) for launch in launches])))
