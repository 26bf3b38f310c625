"""Is a quantized model faster than the same network in fp32? Both run in turn, so that what disturbs one meets both."""

import math
import statistics
import time
from collections.abc import Callable, Sequence

from export.artifact.paired import Z_95
from export.doctor.record import Speed

ROUNDS = 40
BLOCK_S = 0.004
"""Each round calls both models for about so long."""

WARM_UP = 10


def compare(fp32: Callable[[], object], candidate: Callable[[], object], *, rounds: int = ROUNDS) -> Speed:
    """Time two bound calls in alternating blocks; the order within a round alternates too."""
    calls = (fp32, candidate)
    repeats = [_calls_per_block(call) for call in calls]
    times_s: list[tuple[float, float]] = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        block_s = {index: _block_s(calls[index], repeats[index]) for index in order}
        times_s.append((block_s[0], block_s[1]))
    ratios = [slow / fast for slow, fast in times_s]
    return Speed(
        ratio=statistics.median(ratios),
        interval=median_interval(ratios),
        latency_ms=1000 * statistics.median(fast for _, fast in times_s),
        fp32_latency_ms=1000 * statistics.median(slow for slow, _ in times_s),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median by order statistics (the sign test turned round), whatever the distribution.

    Args:
        values: at least one; of fewer than six the interval is all of them, and covers less than 95 %.
    """
    ordered, n = sorted(values), len(values)
    below = max(0, math.floor((n - Z_95 * math.sqrt(n)) / 2))
    return ordered[below], ordered[n - 1 - below]


def _calls_per_block(call: Callable[[], object]) -> int:
    for _ in range(WARM_UP):
        call()
    return max(1, round(BLOCK_S / _block_s(call, 3)))


def _block_s(call: Callable[[], object], repeats: int) -> float:
    """Seconds per call."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats
