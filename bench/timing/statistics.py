"""What the samples of one launch say: median and tails, and a label. No sample is ever deleted.

How well a median is known is in `bench.timing.intervals`; a row of several launches is judged in `bench.timing.judge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.record import Validity
from bench.timing.traces import MIN_SAMPLES, drift, two_modes

BEYOND = 10
"""A quantile is shown only if so many samples lie beyond it; of fewer, one disturbed call would move it."""

TAIL_FLOOR = 10 * BEYOND
"""Samples needed for p10 and p90."""

FAR_TAIL_FLOOR = 100 * BEYOND
"""Samples needed for p99. MLPerf's LoadGen asks for 662."""

FEW_SAMPLES = MIN_SAMPLES
"""Below this count a row is noisy, however close its samples lie."""

MAX_SPREAD = 0.10
"""A row is noisy if the middle half of its samples spans more than this share of the median."""

MOVES_THE_MEDIAN = 0.25
"""Two modes make a launch noisy if the smaller holds at least this share; below it, the median stays within the larger
one's middle third, wherever the smaller one lies. For the same reason, fewer launches do not make a row noisy."""


@dataclass(frozen=True)
class Summary:
    """Latencies in milliseconds per call; a quantile is None below its floor of samples."""

    count: int
    median_ms: float
    p10_ms: float | None
    p90_ms: float | None
    p99_ms: float | None

    def images_per_s(self, batch: int) -> float:
        """Throughput: images of one call by the median call."""
        return 1000 * batch / self.median_ms


@dataclass(frozen=True)
class Label:
    """A verdict on the samples, and the figures that led to it in words."""

    validity: Validity
    reason: str


def summarize(samples_ms: Sequence[float]) -> Summary:
    """Median and tails of at least one sample.

    Raises:
        ValueError: no samples, or one that is not above 0.
    """
    samples = _as_array(samples_ms)
    return Summary(
        count=len(samples),
        median_ms=float(np.median(samples)),
        p10_ms=_quantile(samples, 0.1, TAIL_FLOOR),
        p90_ms=_quantile(samples, 0.9, TAIL_FLOOR),
        p99_ms=_quantile(samples, 0.99, FAR_TAIL_FLOOR),
    )


def label(samples_ms: Sequence[float]) -> Label:
    """Valid, noisy or drifting, by the course of one launch. Drift is named before noise, as it causes some.

    Raises:
        ValueError: no samples, or one that is not above 0.
    """
    samples = _as_array(samples_ms)
    if len(samples) < FEW_SAMPLES:
        return Label("noisy", f"only {len(samples)} samples; {FEW_SAMPLES} are needed to judge them")
    change = drift(samples_ms)
    if change is not None:
        word = "slower" if change > 0 else "faster"
        return Label("drifting", f"the last third is {100 * abs(change):.1f} % {word} than the first")
    modes = two_modes(samples_ms)
    if modes is not None and modes.smaller_share >= MOVES_THE_MEDIAN:
        return Label(
            "noisy",
            f"two modes: {modes.low:.3g} and {modes.high:.3g} ms, {100 * modes.high_share:.0f} % of the samples in the "
            "slower one, as from a step of the clock or a change of core",
        )
    spread = _interquartile_range(samples) / float(np.median(samples))
    verdict = "noisy" if spread > MAX_SPREAD else "valid"
    return Label(verdict, f"the middle half of the samples spans {100 * spread:.1f} % of the median")


def _quantile(samples: NDArray[np.float64], share: float, floor: int) -> float | None:
    return float(np.quantile(samples, share)) if len(samples) >= floor else None


def _interquartile_range(samples: NDArray[np.float64]) -> float:
    return float(np.quantile(samples, 0.75) - np.quantile(samples, 0.25))


def _as_array(samples_ms: Sequence[float]) -> NDArray[np.float64]:
    if not samples_ms:
        raise ValueError("there are no samples")
    samples = np.asarray(samples_ms, dtype=np.float64)
    if samples.min() <= 0:
        raise ValueError(f"a call cannot take {samples.min()} ms; the clock is too coarse for this model")
    return samples
