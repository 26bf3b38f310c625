import gc
from collections.abc import Iterator
from itertools import chain, cycle, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.timing.intervals import relative_half_width
from bench.timing.loop import (
    CALLS_AGAIN,
    NS_PER_MS,
    SECONDS_AGAIN,
    STEADY_WINDOW,
    HostLimits,
    Timing,
    WarmUp,
    in_bursts,
)
from tests.bench.timed import measure

SHORT = {
    "warmup_count": 1,
    "warmup_s": 0.0,
    "warmup_cap_s": 1000.0,
    "min_count": 1,
    "min_s": 0.0,
    "max_count": 50,
    "steady_within": None,
    "half_width": None,
    "burst_s": None,
}


class Stage:
    """A clock that only the call moves, so that every reading is known."""

    def __init__(self, durations_ms: Iterator[float]) -> None:
        self.now_ns = 0
        self.calls = 0
        self._durations_ms = durations_ms

    def clock(self) -> int:
        return self.now_ns

    def call(self) -> None:
        self.calls += 1
        self.now_ns += round(next(self._durations_ms) * NS_PER_MS)


def limits(**changes: float | None) -> HostLimits:
    return HostLimits.model_validate({**SHORT, "max_s": 1000.0, **changes})


def test_first_call_warm_up_and_samples_are_kept_apart_and_in_order():
    stage = Stage(iter([90.0, 20.0, 1.0, 2.0, 3.0]))
    timing = measure(stage.call, limits=limits(min_count=3, max_count=3), clock=stage.clock)
    assert timing.first_ms == 90.0
    assert timing.warmup == WarmUp(1, 0.02, None)
    assert timing.samples_ms == (1.0, 2.0, 3.0)
    assert stage.calls == 5


def test_time_that_passes_outside_the_call_is_in_no_sample():
    stage = Stage(repeat(2.0))
    readings = iter(range(10**9))

    def clock_that_costs() -> int:
        # Every second reading opens a sample; what is lost before it must not be counted.
        stage.now_ns += 7 * NS_PER_MS if next(readings) % 2 == 1 else 0
        return stage.now_ns

    timing = measure(stage.call, limits=limits(min_count=5, max_count=5), clock=clock_that_costs)
    assert set(timing.samples_ms) <= {2.0, 9.0}
    assert len(set(timing.samples_ms)) == 1


def test_warm_up_goes_on_until_both_count_and_time_are_reached():
    by_count = Stage(repeat(100.0))
    assert measure(by_count.call, limits=limits(warmup_count=8, warmup_s=0.3), clock=by_count.clock).warmup.count == 8
    by_time = Stage(repeat(100.0))
    assert measure(by_time.call, limits=limits(warmup_count=2, warmup_s=0.5), clock=by_time.clock).warmup.count == 5


def test_warm_up_stops_at_its_cap():
    stage = Stage(repeat(400.0))
    timing = measure(stage.call, limits=limits(warmup_count=100, warmup_cap_s=1.0), clock=stage.clock)
    assert timing.warmup == WarmUp(3, pytest.approx(1.2), None)


def test_warm_up_ends_when_two_windows_agree_and_says_so():
    falling = chain((10.0 * 0.9**turn + 1 for turn in range(60)), repeat(1.0))
    stage = Stage(falling)
    timing = measure(stage.call, limits=limits(steady_within=0.03), clock=stage.clock)
    assert timing.warmup.steady is True
    # After 40 calls the last window is still a tenth below the one before.
    assert 40 < timing.warmup.count < 100


def test_a_steady_call_is_warm_after_two_windows():
    stage = Stage(repeat(2.0))
    timing = measure(stage.call, limits=limits(steady_within=0.03), clock=stage.clock)
    assert 2 * STEADY_WINDOW <= timing.warmup.count <= 2.5 * STEADY_WINDOW


def test_a_warm_up_that_never_becomes_steady_ends_at_its_cap_and_says_so():
    stage = Stage(2.0 * 1.01**turn for turn in range(10**6))
    timing = measure(stage.call, limits=limits(steady_within=0.01, warmup_cap_s=2.0), clock=stage.clock)
    assert timing.warmup.steady is False
    assert timing.warmup.seconds >= 2.0


def test_sampling_goes_on_until_the_median_is_known_well_enough():
    quiet = Stage(repeat(10.0))
    few = measure(quiet.call, limits=limits(min_count=30, max_count=5000, half_width=0.02), clock=quiet.clock)
    assert len(few.samples_ms) == 30
    rng = np.random.default_rng(3)
    restless = Stage(iter(rng.lognormal(0, 0.3, 10_000).tolist()))
    many = measure(restless.call, limits=limits(min_count=30, max_count=5000, half_width=0.02), clock=restless.clock)
    assert 500 < len(many.samples_ms) < 5000
    assert relative_half_width(many.samples_ms) <= 0.02


def test_a_cap_ends_sampling_however_badly_the_median_is_known():
    stage = Stage(cycle([1.0, 9.0]))
    timing = measure(stage.call, limits=limits(max_count=40, half_width=0.001), clock=stage.clock)
    assert len(timing.samples_ms) == 40


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"min_count": 20, "min_s": 0.1}, 20),
        ({"min_count": 2, "min_s": 0.1}, 10),
        ({"min_count": 2, "min_s": 100.0, "max_count": 30}, 30),
        ({"min_count": 40, "max_s": 0.25}, 25),
        ({"min_count": 40, "max_s": 0.0}, 1),
    ],
    ids=["count floor", "time floor", "count cap", "time cap", "one sample at least"],
)
def test_sampling_stops_on_floors_and_caps(changes: dict[str, float], expected: int):
    stage = Stage(repeat(10.0))
    assert len(measure(stage.call, limits=limits(**changes), clock=stage.clock).samples_ms) == expected


# Every example collects garbage once; how long that takes is no business of this test.
@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.01, 500), min_size=1, max_size=60), st.integers(1, 40), st.floats(0, 2), st.floats(0, 5))
def test_floors_are_kept_unless_a_cap_is_hit(durations_ms: list[float], floor: int, min_s: float, more_s: float):
    stage = Stage(chain(durations_ms, repeat(durations_ms[-1])))
    rule = limits(min_count=floor, min_s=min_s, max_s=min_s + more_s)
    samples = measure(stage.call, limits=rule, clock=stage.clock).samples_ms
    total_s = sum(samples) / 1000
    at_cap = len(samples) == rule.max_count or total_s >= rule.max_s - 1e-9
    assert at_cap or (len(samples) >= floor and total_s >= min_s - 1e-9)
    assert len(samples) <= rule.max_count


def test_garbage_collection_is_off_in_the_samples_only():
    seen: list[bool] = []
    stage = Stage(repeat(1.0))

    def call() -> None:
        seen.append(gc.isenabled())
        stage.call()

    measure(call, limits=limits(min_count=3, max_count=3), clock=stage.clock)
    assert seen == [True, True, False, False, False]
    assert gc.isenabled()


def test_a_call_that_raises_ends_the_measurement_and_leaves_the_collector_on():
    stage = Stage(chain([1.0, 1.0, 1.0, 1.0], (1 / zero for zero in [0])))
    with pytest.raises(ZeroDivisionError):
        measure(stage.call, limits=limits(min_count=5), clock=stage.clock)
    assert gc.isenabled()


def in_pauses(stage: Stage, rule: HostLimits, *, pause_ms: float) -> tuple[list[bool], Timing]:
    """What the bursts said, and the timing, with a pause of the clock between them."""
    course = in_bursts(stage.call, limits=rule, clock=stage.clock)
    said: list[bool] = []
    while True:
        try:
            said.append(next(course))
        except StopIteration as end:
            return said, end.value
        stage.now_ns += round(pause_ms * NS_PER_MS)


def test_bursts_have_pauses_between_them_that_count_for_nothing():
    stage = Stage(repeat(10.0))
    said, timing = in_pauses(stage, limits(burst_s=0.05, min_count=12, min_s=0.1), pause_ms=900.0)
    assert said == [False, False, False, True]
    assert timing.burst_counts == (5, 5, 2)
    assert timing.samples_ms == (10.0,) * 12
    # The first call, one of warm-up, and before every burst two that bring the caches back.
    assert stage.calls == 1 + 1 + 3 * CALLS_AGAIN + 12


def test_calls_before_a_burst_go_on_until_the_caches_had_time_to_fill():
    stage = Stage(repeat(1.0))
    in_pauses(stage, limits(burst_s=0.05, min_count=100, max_count=100), pause_ms=1.0)
    assert stage.calls == 1 + 1 + 2 * round(1000 * SECONDS_AGAIN) + 100


def test_a_call_that_is_longer_than_a_burst_is_a_burst():
    stage = Stage(repeat(400.0))
    said, timing = in_pauses(stage, limits(burst_s=0.05, min_count=10, max_s=1.0), pause_ms=1.0)
    assert (said[-1], timing.burst_counts) == (True, (1, 1, 1))


def test_bursts_go_on_until_the_median_is_known_well_enough():
    rng = np.random.default_rng(3)
    restless = Stage(iter(rng.lognormal(0, 0.3, 30_000).tolist()))
    rule = limits(burst_s=0.02, min_count=30, max_count=5000, half_width=0.02)
    said, timing = in_pauses(restless, rule, pause_ms=1.0)
    assert said == [False] * len(timing.burst_counts) + [True]
    assert 500 < len(timing.samples_ms) < 5000
    assert sum(timing.burst_counts) == len(timing.samples_ms)
    assert relative_half_width(timing.samples_ms) <= 0.02


def test_the_collector_is_off_in_the_pauses_and_on_when_they_are_broken_off():
    stage = Stage(repeat(10.0))
    course = in_bursts(stage.call, limits=limits(burst_s=0.05, min_count=12), clock=stage.clock)
    next(course)
    assert not gc.isenabled()
    course.close()
    assert gc.isenabled()


def test_a_floor_above_its_cap_is_refused():
    with pytest.raises(ValidationError, match="min_s is 20"):
        limits(min_s=20.0, max_s=10.0)


def test_the_real_clock_sees_a_real_pause():
    import time

    timing = measure(lambda: time.sleep(0.002), limits=limits(min_count=5, max_count=5))
    assert all(2.0 <= sample < 200 for sample in timing.samples_ms)
