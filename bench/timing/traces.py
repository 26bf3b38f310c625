"""What the course of one launch's samples shows: drift, and two modes. Samples in any unit, all above 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES = 20
"""Fewer samples have no course to speak of."""

MAX_DRIFT = 0.03
"""A launch drifts if its last third is further than this share from its first third, and there is a trend."""

TREND_BLOCKS = 20
"""The trend is looked for in the medians of so many blocks: neighbours in a launch are alike, blocks hardly."""

TREND_Z = 2.6
"""There is a trend if it lies so many standard deviations from chance, which happens once in a hundred launches."""

MODES_FROM = 50
"""Samples needed to tell two modes."""

MODES_APART = 0.05
"""Two modes are told only if they lie further apart than this share."""

MODE_SHARE = 0.1
"""The smaller mode holds at least this share of the samples."""

VALLEY_SHARE = 0.05
"""And at most this share lies in the middle third between the two. A normal series has a fifth of it there, a flat
one a sixth; so neither one broad hump nor a long tail is taken for two modes."""

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Modes:
    """Two groups of samples with hardly any between them; `low` and `high` are their medians."""

    low: float
    high: float
    high_share: float

    @property
    def smaller_share(self) -> float:
        """Share of the samples in the smaller mode, at most 0.5."""
        return min(self.high_share, 1 - self.high_share)


def drift(samples: Sequence[float]) -> float | None:
    """Last third's median against the first's, as a share (above 0 is slower), if it drifts; else None."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < MIN_SAMPLES:
        return None
    third = len(values) // 3
    change = float(np.median(values[-third:]) / np.median(values[:third])) - 1
    trend = trend_z(values)
    return change if abs(change) > MAX_DRIFT and abs(trend) > TREND_Z and change * trend > 0 else None


def trend_z(samples: Samples) -> float:
    """Mann-Kendall trend of the medians of consecutive blocks, as a z score; above 0 if later ones are larger."""
    blocks = np.array([np.median(block) for block in np.array_split(samples, min(TREND_BLOCKS, len(samples) // 2))])
    pairs = np.sign(blocks[None, :] - blocks[:, None])
    score = float(np.triu(pairs, 1).sum())
    _, ties = np.unique(blocks, return_counts=True)
    variance = _kendall_variance(len(blocks)) - sum(_kendall_variance(int(tied)) for tied in ties)
    # One pair less, as the score moves in steps.
    return math.copysign(max(0.0, abs(score) - 1), score) / math.sqrt(variance) if variance > 0 else 0.0


def two_modes(samples: Sequence[float]) -> Modes | None:
    """The two modes of a series, or None if it has one.

    The samples are split where the two parts are tightest (two means in one dimension, Otsu 1979), and the valley
    between the parts' medians must be all but empty.
    """
    values = np.sort(np.asarray(samples, dtype=np.float64))
    if len(values) < MODES_FROM:
        return None
    cut = _tightest_split(values)
    low, high = float(np.median(values[:cut])), float(np.median(values[cut:]))
    smaller = min(cut, len(values) - cut) / len(values)
    third = (high - low) / 3
    valley = float(np.mean((values > low + third) & (values < high - third)))
    if smaller < MODE_SHARE or high - low <= MODES_APART * low or valley > VALLEY_SHARE:
        return None
    return Modes(low, high, (len(values) - cut) / len(values))


def _kendall_variance(count: int) -> float:
    return count * (count - 1) * (2 * count + 5) / 18


def _tightest_split(ordered: Samples) -> int:
    """Length of the lower part that leaves the least squared distance to the parts' means."""
    logs = np.log(ordered)
    counts = np.arange(1, len(logs))
    sums = np.cumsum(logs)
    lower, upper = sums[:-1] / counts, (sums[-1] - sums[:-1]) / (len(logs) - counts)
    between = counts * (len(logs) - counts) * (upper - lower) ** 2
    return int(np.argmax(between)) + 1
