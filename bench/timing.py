"""The timed loop: first call, warm-up, samples. It knows nothing of models; it times any callable."""

import gc
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Annotated

from pydantic import Field, model_validator

from bench.intervals import relative_half_width
from distill.contract import Strict

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

STEADY_WINDOW = 10
"""Calls in the smallest window that the steadiness of a warm-up is judged by."""

LOOK_AGAIN = 1.25
"""After a look at all samples so far, the next comes when there are so many times as many, so that few are taken."""

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
    """What was seen. `samples_ms` holds every timed call in order, none removed; `first_ms` the very first call."""

    first_ms: float
    warmup: WarmUp
    samples_ms: tuple[float, ...]


def measure(
    call: Callable[[], object], *, limits: HostLimits | None = None, clock: Clock = time.perf_counter_ns
) -> Timing:
    """Time a call. The clock is read right before and right after it; nothing else lies between the two readings.

    Whatever `call` raises ends the measurement and is passed on.
    """
    limits = limits or HostLimits()
    began = clock()
    call()
    first_ns = clock() - began
    warmup = _warm_up(call, limits, clock)
    with _no_garbage_collection():
        samples_ns = _sample(call, limits, clock)
    return Timing(
        first_ms=first_ns / NS_PER_MS,
        warmup=warmup,
        samples_ms=tuple(sample / NS_PER_MS for sample in samples_ns),
    )


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


def _sample(call: Callable[[], object], limits: HostLimits, clock: Clock) -> "array[int]":
    # All memory is taken here, so that no sample pays for a growing list.
    samples_ns = array("q", bytes(8 * limits.max_count))
    floor_ns, cap_ns = limits.min_s * NS_PER_S, limits.max_s * NS_PER_S
    count, needed, began = 0, limits.min_count, clock()
    while count < limits.max_count:
        start = clock()
        call()
        end = clock()
        samples_ns[count] = end - start
        count += 1
        if end - began >= cap_ns:
            break
        if count >= needed and end - began >= floor_ns:
            if limits.half_width is None or relative_half_width(samples_ns[:count]) <= limits.half_width:
                break
            needed = int(LOOK_AGAIN * count) + 1
    return samples_ns[:count]


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
