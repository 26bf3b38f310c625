"""Time a call in this process, without a pause between bursts."""

import time
from collections.abc import Callable

from bench.timing.loop import Clock, HostLimits, Timing, in_bursts


def measure(call: Callable[[], object], *, limits: HostLimits, clock: Clock = time.perf_counter_ns) -> Timing:
    course = in_bursts(call, limits=limits, clock=clock)
    while True:
        try:
            next(course)
        except StopIteration as end:
            return end.value
