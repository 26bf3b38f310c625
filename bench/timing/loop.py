"""The timed loop: first call, warm-up, samples in bursts. It knows nothing of models; it times any callable."""

import gc
import math
import time
from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Annotated

from pydantic import Field, model_validator

from bench.timing.intervals import relative_half_width
from distill.contract import Strict

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

STEADY_WINDOW = 10
"""Calls in the smallest window that the steadiness of a warm-up is judged by."""

LOOK_AGAIN = 1.25
"""After a look at all samples so far, the next comes when there are so many times as many, so that few are taken."""

BURST_S = 0.05
"""Short, so that others sample under the same conditions: the neighbours on a shared machine change within tenths of a
second."""

CALLS_AGAIN = 2
SECONDS_AGAIN = 0.01
"""Calls that no burst but the first can do without, both at least: meanwhile others had the processor's caches."""

Clock = Callable[[], int]
"""Nanoseconds since any fixed moment."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Limits(Strict):
    """When warm-up and sampling stop. Floors must both be reached; a cap stops at once, floor or not.

    Attributes:
        warmup_count, warmup_s: floors of the warm-up, after the first call.
        warmup_cap_s: cap of the warm-up.
        min_count, min_s: floors of the samples; 100 samples are what p10 and p90 need.
        max_count, max_s: caps of the samples. One sample is always taken.
    """

    warmup_count: Count = 10
    warmup_s: Seconds = 0.5
    warmup_cap_s: Seconds = 5.0
    min_count: Count = 100
    min_s: Seconds = 1.0
    max_count: Count = 3000
    max_s: Seconds = 10.0

    @model_validator(mode="after")
    def _floors_below_caps(self) -> "Limits":
        for name, floor, cap in (
            ("warmup_s", self.warmup_s, self.warmup_cap_s),
            ("min_count", self.min_count, self.max_count),
            ("min_s", self.min_s, self.max_s),
        ):
            if floor > cap:
                raise ValueError(f"{name} is {floor}, above its cap {cap}")
        return self


class HostLimits(Limits):
    """Limits of one process launch on this machine: beyond the floors, it goes on until the figures are good enough.

    Several launches of about a second say more than one of several seconds, because launches differ.

    Attributes:
        steady_within: the warm-up ends when the medians of its last two windows differ by no more than this share;
            None for the floors alone.
        half_width: sampling stops when the median's 95 % interval within the launch is no wider than this share to
            either side; None for the floors alone.
        burst_s: length of a burst of samples, after which another process may take one of its own; None for one burst
            that lasts until the samples are enough.
    """

    warmup_count: Count = 10
    warmup_s: Seconds = 0.1
    warmup_cap_s: Seconds = 2.0
    min_count: Count = 100
    min_s: Seconds = 0.4
    max_count: Count = 3000
    max_s: Seconds = 2.0
    steady_within: Share | None = 0.03
    half_width: Share | None = 0.02
    burst_s: Seconds | None = BURST_S


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up took, without the first call.

    Attributes:
        count, seconds: calls and time.
        steady: True if it ended because the calls were steady, False if at its cap, None if that was not asked for.
    """

    count: int
    seconds: float
    steady: bool | None


@dataclass(frozen=True)
class Timing:
    """What was seen.

    Attributes:
        first_ms: the very first call.
        samples_ms: every timed call in order, none removed.
        burst_counts: how many samples each burst took.
    """

    first_ms: float
    warmup: WarmUp
    samples_ms: tuple[float, ...]
    burst_counts: tuple[int, ...]


def in_bursts(
    call: Callable[[], object], *, limits: HostLimits, clock: Clock = time.perf_counter_ns
) -> Generator[bool, None, Timing]:
    """Time a call, and pause after the warm-up and after every burst of samples.

    The clock is read right before and right after the call; nothing else lies between the two readings. Pauses count
    for no limit. Every burst after a pause begins with a few calls that are no samples (`CALLS_AGAIN`).

    Yields:
        Whether the samples are enough. Only after True the timing is returned.
    """
    began = clock()
    call()
    first_ns = clock() - began
    warmup = _warm_up(call, limits, clock)
    with _no_garbage_collection():
        samples = _Samples(limits)
        is_enough = False
        while not is_enough:
            if limits.burst_s is not None:
                yield False
                _warm_up_again(call, clock)
            is_enough = samples.burst(call, clock)
        if limits.burst_s is not None:
            yield True
    return Timing(
        first_ms=first_ns / NS_PER_MS,
        warmup=warmup,
        samples_ms=tuple(sample / NS_PER_MS for sample in samples.taken_ns),
        burst_counts=tuple(samples.burst_counts),
    )


class _Samples:
    """The samples of all bursts so far, and whether they are enough."""

    def __init__(self, limits: HostLimits) -> None:
        self.burst_counts: list[int] = []
        self._limits = limits
        # All memory is taken here, so that no sample pays for a growing list.
        self._samples_ns = array("q", bytes(8 * limits.max_count))
        self._count, self._needed, self._took_ns = 0, limits.min_count, 0

    @property
    def taken_ns(self) -> "array[int]":
        return self._samples_ns[: self._count]

    def burst(self, call: Callable[[], object], clock: Clock) -> bool:
        """Take one burst; whether all samples together are enough."""
        before, burst_s = self._count, self._limits.burst_s
        left_ns = math.inf if burst_s is None else burst_s * NS_PER_S
        is_enough = False
        while left_ns > 0 and not is_enough:
            took_ns = self._take(call, clock, left_ns)
            self._took_ns += took_ns
            left_ns -= took_ns
            is_enough = self._is_enough()
        self.burst_counts.append(self._count - before)
        return is_enough

    def _take(self, call: Callable[[], object], clock: Clock, at_most_ns: float) -> int:
        """Samples until the time is up, the cap is reached, or it is time for a look; returns the time it took."""
        samples_ns, limits, count = self._samples_ns, self._limits, self._count
        cap_ns = min(at_most_ns, limits.max_s * NS_PER_S - self._took_ns)
        floor_ns, needed = limits.min_s * NS_PER_S - self._took_ns, self._needed
        began = clock()
        while True:
            start = clock()
            call()
            end = clock()
            samples_ns[count] = end - start
            count += 1
            took_ns = end - began
            if took_ns >= cap_ns or count == limits.max_count or (count >= needed and took_ns >= floor_ns):
                break
        self._count = count
        return took_ns

    def _is_enough(self) -> bool:
        limits, count = self._limits, self._count
        if count == limits.max_count or self._took_ns >= limits.max_s * NS_PER_S:
            return True
        if count < self._needed or self._took_ns < limits.min_s * NS_PER_S:
            return False
        if limits.half_width is None or relative_half_width(self.taken_ns) <= limits.half_width:
            return True
        self._needed = int(LOOK_AGAIN * count) + 1
        return False


def _warm_up_again(call: Callable[[], object], clock: Clock) -> None:
    began, count = clock(), 0
    while count < CALLS_AGAIN or clock() - began < SECONDS_AGAIN * NS_PER_S:
        call()
        count += 1


def _warm_up(call: Callable[[], object], limits: HostLimits, clock: Clock) -> WarmUp:
    cap_ns, floor_ns, needed = limits.warmup_cap_s * NS_PER_S, limits.warmup_s * NS_PER_S, limits.warmup_count
    began = clock()
    ends_ns, steady = [began], None if limits.steady_within is None else False
    while ends_ns[-1] - began < cap_ns:
        count = len(ends_ns) - 1
        if count >= needed and ends_ns[-1] - began >= floor_ns:
            if limits.steady_within is None:
                break
            if _is_steady(ends_ns, limits.steady_within):
                steady = True
                break
            needed = int(LOOK_AGAIN * count) + 1
        call()
        ends_ns.append(clock())
    return WarmUp(len(ends_ns) - 1, (ends_ns[-1] - began) / NS_PER_S, steady)


def _is_steady(ends_ns: list[int], within: float) -> bool:
    """Whether the last two windows, a quarter of the calls each but no fewer than `STEADY_WINDOW`, have one median."""
    took = [end - start for start, end in pairwise(ends_ns)]
    window = max(STEADY_WINDOW, len(took) // 4)
    if len(took) < 2 * window:
        return False
    before, last = median(took[-2 * window : -window]), median(took[-window:])
    return abs(last - before) <= within * before


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
