from typing import Any

import numpy as np
import pytest

from bench.record import Launch
from bench.timing.judge import Trace, judge
from tests.bench.synthetic import alike

STEADY = {"spread": 0.02, "correlation": 0.5}


def trace(samples: Any, *, mhz: tuple[float, float] | None = None, throttled: int | None = None, **seen: Any) -> Trace:
    launch = Launch(
        **{
            "sample_count": len(samples),
            "warmup_count": 40,
            "warmup_s": 0.5,
            "steady": True,
            "load_ms": 1.0,
            "first_inference_ms": 1.0,
            "other_work_share": 0.01,
            "stolen_share": 0.0,
            "waiting_share": 0.0,
            **seen,
        }
    )
    return Trace(launch, tuple(float(one) for one in samples), *(mhz or (None, None)), throttled)


def launches(**seen: Any) -> list[Trace]:
    rng = np.random.default_rng(0)
    return [
        trace(alike(rng, 300, **STEADY)),
        trace(alike(rng, 300, **STEADY), **seen),
        trace(alike(rng, 300, **STEADY)),
    ]


def with_course(course: Any, **seen: Any) -> list[Trace]:
    rng = np.random.default_rng(1)
    return [trace(alike(rng, 300, **STEADY)), trace(course * alike(rng, 300, **STEADY), **seen)]


THROTTLING = np.where(np.arange(300) < 150, 1.0, 1.3)


def test_steady_launches_are_valid_and_say_how_well_the_median_is_known():
    found = judge(launches())
    assert found.validity == "valid"
    assert found.reason.startswith("the median is known to ± ")
    assert "3 launches, medians" in found.reason


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"other_work_share": 0.47}, "other work took 47 % of the cores"),
        ({"stolen_share": 0.2}, "other virtual machines took 20 % of the cores"),
        ({"waiting_share": 0.3}, "the model's threads waited for a core 30 % of the time"),
        ({"steady": False}, "not steady after 0.5 s and 40 calls of warm-up"),
    ],
)
def test_a_row_that_anything_disturbed_is_noisy_and_says_what(seen: dict[str, Any], reason: str):
    found = judge(launches(**seen))
    assert (found.validity, found.reason) == ("noisy", f"launch 2 of 3: {reason}")


def test_one_disturbed_launch_of_five_makes_no_row_noisy_but_is_named():
    found = judge([*launches(other_work_share=0.47), *launches()[:2]])
    assert found.validity == "valid"
    assert found.reason.endswith("; 1 of them disturbed, e.g. launch 2 of 5: other work took 47 % of the cores")


@pytest.mark.parametrize(
    ("drifting", "steady", "expected"), [(1, 3, "drifting"), (1, 4, "valid"), (2, 4, "valid"), (3, 3, "drifting")]
)
def test_from_five_launches_on_a_symptom_decides_only_if_half_of_them_have_it(
    drifting: int, steady: int, expected: str
):
    rng = np.random.default_rng(7)
    course = np.linspace(0.97, 1.03, 300)
    traces = [trace(course * alike(rng, 300, **STEADY)) for _ in range(drifting)]
    traces += [trace(alike(rng, 300, **STEADY)) for _ in range(steady)]
    assert judge(traces).validity == expected


def test_disturbances_of_all_kinds_count_together_and_the_cause_is_named_before_the_symptom():
    drifting = with_course(np.linspace(1, 1.1, 300))[1]
    found = judge([drifting, *launches(other_work_share=0.47)])
    assert (found.validity, found.reason) == ("noisy", "launch 3 of 4: other work took 47 % of the cores")


def test_a_machine_that_tells_nothing_is_no_objection():
    assert (
        judge(launches(other_work_share=None, stolen_share=None, waiting_share=None, steady=None)).validity == "valid"
    )


def test_a_drifting_launch_makes_a_drifting_row():
    found = judge(with_course(np.linspace(1, 1.1, 300)))
    assert found.validity == "drifting"
    assert found.reason.startswith("launch 2 of 2: the last third is ")


def test_getting_slower_while_the_clock_falls_is_throttling():
    found = judge(with_course(THROTTLING, mhz=(3000.0, 2300.0)))
    assert found.validity == "throttled"
    assert found.reason.startswith("launch 2 of 2: the clock fell from 3000 to 2300 MHz and the last third is ")


def test_getting_slower_at_one_clock_is_a_drift():
    assert judge(with_course(THROTTLING, mhz=(3000.0, 2990.0))).validity == "drifting"


def test_a_throttling_that_the_kernel_counted_is_believed():
    found = judge(launches(throttled=2))
    assert (found.validity, found.reason) == (
        "throttled",
        "launch 2 of 3: the kernel throttled the processor 2 times",
    )


def test_two_modes_make_a_noisy_row():
    course = np.where(np.random.default_rng(2).random(300) < 0.4, 81.0, 53.0)
    found = judge([trace(course * alike(np.random.default_rng(3), 300, **STEADY))])
    assert found.validity == "noisy"
    assert found.reason.startswith("launch 1 of 1: two modes: 5")


def test_launches_far_apart_make_a_noisy_row():
    rng = np.random.default_rng(4)
    found = judge([trace(scale * alike(rng, 300, **STEADY)) for scale in (1.0, 1.1, 1.2)])
    assert found.validity == "noisy"
    assert found.reason.startswith("the median is known to ± ")


def test_one_launch_says_that_it_is_alone():
    found = judge(launches()[:1])
    assert found.validity == "valid"
    assert found.reason.endswith("as far as one launch can tell")
