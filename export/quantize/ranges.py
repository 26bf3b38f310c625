"""Ranges of activations from what calibration images made of them: one implementation for every format.

Each toolchain has calibrators of its own, and they do not mean the same by the same name: ONNX Runtime's percentile is
symmetric around zero unless told otherwise, its entropy search has one candidate at default settings, torchao's
histogram search is a loop in Python that takes a minute. Here a histogram is kept while the images run, and the range
is found afterwards, so that one run of the images serves every calibrator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CalibratorName = Literal["min-max", "percentile", "mse", "entropy"]
Range = tuple[float, float]

BINS = 8192
HALF = BINS // 2
STEPS = 128
"""Candidates for each end of a range, evenly between zero and the extreme that was seen."""


class Histogram:
    """Running histogram of one tensor's values: bins of one width around zero, and the extremes.

    The width is a power of two. Where values lie outside, pairs of bins are merged until they fit, so nothing that was
    counted is ever counted anew, and the order of the images does not matter.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self.width = 2.0**-24
        self.counts: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count values of any shape. Infinities are left out: they are the padding of a max pool.

        Raises:
            ValueError: one of them is not a number.
        """
        if np.isnan(values).any():
            raise ValueError("an activation is not a number on the calibration images; the float model is broken")
        values = values[np.isfinite(values)]
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.width * HALF:
            self._double_width()
        # In float32 the smallest quotients would be zero, and of negative values lie in another bin than they began in.
        indices = np.floor(values.ravel().astype(np.float64) / self.width).astype(np.int64) + HALF
        self.counts += np.bincount(np.clip(indices, 0, BINS - 1), minlength=BINS)

    def _double_width(self) -> None:
        pairs = self.counts.reshape(HALF, 2).sum(axis=1)
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
        self.width *= 2

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the bins that hold values, within the extremes, and their counts."""
        indices = np.flatnonzero(self.counts)
        centres = np.clip((indices - HALF + 0.5) * self.width, self.low, self.high).astype(np.float64)
        return centres, self.counts[indices].astype(np.float64)


@dataclass(frozen=True)
class Grid:
    """The representable values that a range is divided into."""

    low: float
    high: float
    levels: int

    def nearest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each value as the quantized tensor would keep it; what lies outside becomes the nearest end."""
        return self.low + self.index(values) * self.step

    def index(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which of the levels each value becomes, 0 to levels - 1."""
        return np.clip(np.round((values - self.low) / self.step), 0, self.levels - 1)

    @property
    def step(self) -> float:
        """Distance of two neighbouring values."""
        return max(self.high - self.low, 1e-30) / (self.levels - 1)


def find_range(seen: Histogram, calibrator: CalibratorName, *, percentile: float = 100.0, levels: int = 256) -> Range:
    """The range that a tensor is quantized to; it always holds zero.

    Args:
        seen: the tensor's values.
        calibrator: `min-max`: everything seen. `percentile`: the central share of what was seen. `mse`: least mean
            squared error of the quantized values. `entropy`: least Kullback-Leibler divergence of their distribution
            (Migacz 2017, "8-bit inference with TensorRT"; deviation: both ends of the range are searched).
        percentile: for `percentile`, in (0, 100]; (100 - percentile) / 2 is cut off at either end.
        levels: of the quantized type.
    """
    if not np.isfinite(seen.low):
        return (0.0, 0.0)
    if calibrator == "percentile":
        low, high = _central(seen, percentile)
    elif calibrator == "mse":
        low, high = _search(seen, levels, _squared_error)
    elif calibrator == "entropy":
        low, high = _search(seen, levels, _divergence)
    else:
        low, high = seen.low, seen.high
    return (min(float(low), 0.0), max(float(high), 0.0))


def _central(seen: Histogram, percentile: float) -> Range:
    centres, counts = seen.occupied()
    share = np.cumsum(counts) / counts.sum()
    cut = (100.0 - percentile) / 200.0
    first = int(np.searchsorted(share, cut, side="right"))
    last = int(np.searchsorted(share, 1.0 - cut, side="left"))
    last = min(last, len(centres) - 1)
    half_bin = seen.width / 2
    return (max(float(centres[first]) - half_bin, seen.low), min(float(centres[last]) + half_bin, seen.high))


Cost = Callable[[NDArray[np.float64], NDArray[np.float64], Grid], float]


def _search(seen: Histogram, levels: int, cost: Cost) -> Range:
    """Move the ends of the range towards zero, the upper one first, each to where the cost is least.

    Where every range costs the same, as when too few values were seen to tell, it is the widest.
    """
    centres, counts = seen.occupied()
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    shares = np.arange(STEPS, 0, -1) / STEPS
    if high > 0:
        high = min((high * s for s in shares), key=lambda h: cost(centres, counts, Grid(low, h, levels)))
    if low < 0:
        low = min((low * s for s in shares), key=lambda value: cost(centres, counts, Grid(value, high, levels)))
    return (low, high)


def _squared_error(centres: NDArray[np.float64], counts: NDArray[np.float64], grid: Grid) -> float:
    return float((counts * (centres - grid.nearest(centres)) ** 2).sum())


def _divergence(centres: NDArray[np.float64], counts: NDArray[np.float64], grid: Grid) -> float:
    """KL of the distribution with outliers moved to the ends against the one that the levels can tell apart.

    The two bins at zero are left out, as Migacz does: every range holds zero exactly, and the peak that ReLU makes
    there would drown the rest.
    """
    width = centres[1:] - centres[:-1]
    away = np.abs(centres) >= (width.min() if width.size else 0.0)
    centres, counts = centres[away], counts[away]
    inside = (centres >= grid.low) & (centres <= grid.high)
    reference = counts[inside].copy()
    if reference.size < 2 * grid.levels:
        return float("inf")  # hardly a level would hold two bins, and nothing would seem to be lost
    reference[0] += counts[centres < grid.low].sum()
    reference[-1] += counts[centres > grid.high].sum()
    index = grid.index(centres[inside]).astype(np.int64)
    mass = np.bincount(index, weights=counts[inside], minlength=grid.levels)
    bins = np.bincount(index, minlength=grid.levels)
    spread = mass[index] / bins[index]
    p, q = reference / reference.sum(), spread / spread.sum()
    return float((p * np.log(p / q)).sum())
