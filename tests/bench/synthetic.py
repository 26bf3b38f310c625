"""Latencies like real ones: alike in stretches, and a little different in every process launch."""

import numpy as np
from numpy.typing import NDArray


def alike(rng: np.random.Generator, count: int, *, spread: float, correlation: float) -> NDArray[np.float64]:
    """A lognormal series around 1 whose logarithm is autoregressive of first order."""
    return launches_of(rng, 1, count, between=0, spread=spread, correlation=correlation)[0]


def launches_of(
    rng: np.random.Generator,
    launches: int,
    count: int,
    *,
    between: float,
    spread: float,
    correlation: float,
    scale: float = 1.0,
) -> NDArray[np.float64]:
    """Samples [launches, count] around `scale`; launches are `between` apart, samples within one `spread`."""
    steps = rng.standard_normal((launches, count)) * np.sqrt(1 - correlation**2)
    steps[:, 0] = rng.standard_normal(launches)
    for turn in range(1, count):
        steps[:, turn] += correlation * steps[:, turn - 1]
    return scale * np.exp(rng.normal(0, between, (launches, 1)) + spread * steps)
