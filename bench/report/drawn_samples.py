"""What the page carries of a row's samples: few enough points to draw, and a histogram that counts every call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.timing.intervals import Launches

MAX_POINTS = 1600
"""Of one row. More are thinned: of so many calls in a row the fastest and the slowest are kept."""

MAX_BINS = 40
TAIL = 0.99
TAIL_SPREADS = 6
"""The histogram ends at this quantile, or so many interquartile ranges above the upper quartile if that comes first, so
that slow calls do not squeeze all others into one bar."""


@dataclass(frozen=True)
class Histogram:
    """Bars of equal width from `start_ms`; together with `beyond` they count every call.

    Attributes:
        beyond: calls slower than the last bar.
        slowest_ms: of all calls.
    """

    start_ms: float
    width_ms: float
    counts: tuple[int, ...]
    beyond: int
    slowest_ms: float


def drawn_points(samples_ms: Sequence[float], most: int) -> list[float]:
    """At most `most` of the samples in their order, to four digits: all of them, or the ends of equal stretches."""
    if len(samples_ms) <= most:
        return [rounded(sample) for sample in samples_ms]
    stretch = math.ceil(2 * len(samples_ms) / most)
    points: list[float] = []
    for start in range(0, len(samples_ms), stretch):
        part = samples_ms[start : start + stretch]
        places = sorted({part.index(min(part)), part.index(max(part))})
        points += [rounded(part[place]) for place in places]
    return points


def histogram(launches: Launches) -> Histogram:
    """All samples in bars.

    Raises:
        ValueError: no samples.
    """
    samples = np.concatenate([np.asarray(launch, dtype=np.float64) for launch in launches])
    low, lower, upper, high = (float(np.quantile(samples, share)) for share in (0, 0.25, 0.75, TAIL))
    high = min(high, upper + TAIL_SPREADS * (upper - lower))
    bins = max(1, min(MAX_BINS, math.isqrt(len(samples))))
    # Equal samples still need a bar to stand in.
    width = (high - low) / bins or low / 100
    inside = samples[samples <= low + bins * width]
    counts, _ = np.histogram(inside, bins=bins, range=(low, low + bins * width))
    return Histogram(
        start_ms=rounded(low, digits=6),
        width_ms=rounded(width, digits=6),
        counts=tuple(int(count) for count in counts),
        beyond=len(samples) - int(counts.sum()),
        slowest_ms=rounded(float(samples.max())),
    )


def rounded(value: float, *, digits: int = 4) -> float:
    """The value to so many significant digits."""
    return float(f"{value:.{digits}g}")
