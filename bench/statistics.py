"""What the samples of one row say: median, p10 and p90, and a label. No sample is ever deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.record import Validity

TAIL_FLOOR = 100
"""p10 and p90 need ten samples beyond them; below this count they are not shown."""

FEW_SAMPLES = 20
"""Below this count a row is noisy, however close its samples lie."""

MAX_SPREAD = 0.10
"""A row is noisy if the middle half of its samples spans more than this share of the median."""

MAX_DRIFT = 0.03
"""A row drifts if its last third is further than this share from its first third, and chance does not explain it."""

DRIFT_Z = 2.6
"""Chance explains a difference of thirds below so many standard deviations; it goes further once in a hundred rows."""


@dataclass(frozen=True)
class Summary:
    """Latencies in milliseconds per call; p10 and p90 are None below `TAIL_FLOOR` samples."""

    count: int
    median_ms: float
    p10_ms: float | None
    p90_ms: float | None


@dataclass(frozen=True)
class Label:
    """A verdict on the samples, and the figures that led to it in words."""

    validity: Validity
    reason: str


def summarize(samples_ms: Sequence[float]) -> Summary:
    """Median, p10 and p90 of at least one sample.

    Raises:
        ValueError: no samples, or one that is not above 0.
    """
    samples = _as_array(samples_ms)
    has_tails = len(samples) >= TAIL_FLOOR
    return Summary(
        count=len(samples),
        median_ms=float(np.median(samples)),
        p10_ms=float(np.quantile(samples, 0.1)) if has_tails else None,
        p90_ms=float(np.quantile(samples, 0.9)) if has_tails else None,
    )


def label(samples_ms: Sequence[float]) -> Label:
    """Valid, noisy or drifting, by the thresholds of this module. Drift is named before noise, as it causes some.

    Raises:
        ValueError: no samples, or one that is not above 0.
    """
    samples = _as_array(samples_ms)
    if len(samples) < FEW_SAMPLES:
        return Label("noisy", f"only {len(samples)} samples; {FEW_SAMPLES} are needed to judge them")
    drift, z = _drift(samples)
    spread = _interquartile_range(samples) / float(np.median(samples))
    if abs(drift) > MAX_DRIFT and abs(z) > DRIFT_Z:
        word = "slower" if drift > 0 else "faster"
        return Label("drifting", f"the last third is {100 * abs(drift):.1f} % {word} than the first")
    verdict = "noisy" if spread > MAX_SPREAD else "valid"
    return Label(verdict, f"the middle half of the samples spans {100 * spread:.1f} % of the median")


def _drift(samples: NDArray[np.float64]) -> tuple[float, float]:
    """(last third's median against the first's, as a share; how many standard deviations from chance the two lie)."""
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    return float(np.median(last) / np.median(first)) - 1, _mann_whitney_z(first, last)


def _mann_whitney_z(first: NDArray[np.float64], last: NDArray[np.float64]) -> float:
    """Mann-Whitney U of two series of one length, as a z score; above 0 if `last` tends to be larger.

    Ranks, not medians: with two modes (a clock step, a core migration) a median jumps between them by chance.
    """
    ordered, count = np.sort(first), len(first)
    above, ties_above = np.searchsorted(ordered, last, "left"), np.searchsorted(ordered, last, "right")
    pairs_won = float(np.sum(above + ties_above)) / 2
    return (pairs_won - count**2 / 2) / float(np.sqrt(count**2 * (2 * count + 1) / 12))


def _interquartile_range(samples: NDArray[np.float64]) -> float:
    return float(np.quantile(samples, 0.75) - np.quantile(samples, 0.25))


def _as_array(samples_ms: Sequence[float]) -> NDArray[np.float64]:
    if not samples_ms:
        raise ValueError("there are no samples")
    samples = np.asarray(samples_ms, dtype=np.float64)
    if samples.min() <= 0:
        raise ValueError(f"a call cannot take {samples.min()} ms; the clock is too coarse for this model")
    return samples
