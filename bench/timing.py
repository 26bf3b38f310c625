"""The timed loop: first call, warm-up, samples. It knows nothing of models; it times any callable."""

import gc
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from distill.contract import Strict

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

Clock = Callable[[], int]
"""Nanoseconds since any fixed moment."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


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


@dataclass(frozen=True)
class Timing:
    """What was seen. `samples_ms` holds every timed call in order, none removed.

    Attributes:
        first_ms: the very first call, before the warm-up.
        warmup_count, warmup_s: calls and time of the warm-up, without the first call.
    """

    first_ms: float
    warmup_count: int
    warmup_s: float
    samples_ms: tuple[float, ...]


def measure(call: Callable[[], object], *, limits: Limits | None = None, clock: Clock = time.perf_counter_ns) -> Timing:
    """Time a call. The clock is read right before and right after it; nothing else lies between the two readings.

    Whatever `call` raises ends the measurement and is passed on.
    """
    limits = limits or Limits()
    began = clock()
    call()
    first_ns = clock() - began
    warmup_count, warmup_ns = _warm_up(call, limits, clock)
    with _no_garbage_collection():
        samples_ns = _sample(call, limits, clock)
    return Timing(
        first_ms=first_ns / NS_PER_MS,
        warmup_count=warmup_count,
        warmup_s=warmup_ns / NS_PER_S,
        samples_ms=tuple(sample / NS_PER_MS for sample in samples_ns),
    )


def _warm_up(call: Callable[[], object], limits: Limits, clock: Clock) -> tuple[int, int]:
    count, elapsed_ns, began = 0, 0, clock()
    while elapsed_ns < limits.warmup_cap_s * NS_PER_S:
        if count >= limits.warmup_count and elapsed_ns >= limits.warmup_s * NS_PER_S:
            break
        call()
        count += 1
        elapsed_ns = clock() - began
    return count, elapsed_ns


def _sample(call: Callable[[], object], limits: Limits, clock: Clock) -> "array[int]":
    # All memory is taken here, so that no sample pays for a growing list.
    samples_ns = array("q", bytes(8 * limits.max_count))
    floor_ns, cap_ns = limits.min_s * NS_PER_S, limits.max_s * NS_PER_S
    count, began = 0, clock()
    while count < limits.max_count:
        start = clock()
        call()
        end = clock()
        samples_ns[count] = end - start
        count += 1
        if end - began >= (floor_ns if count >= limits.min_count else cap_ns):
            break
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
