"""Rows that were measured in turn: what the machine did to both falls out of their ratio."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.record import Launch, Measurement
from bench.timing.intervals import ratio_interval
from bench.timing.ratio import FEWEST_TURNS, ratio_of, ratios_by_turn
from tests.bench.conftest import MakeMeasurement, make_launch
from tests.bench.synthetic import alike

COMPARISONS = 40
BURST = 8

MakeRow = Callable[..., Measurement]


def in_bursts(launch: Launch, together: str | None, burst: int = BURST) -> Launch:
    counts = (burst,) * (launch.sample_count // burst)
    return launch.model_copy(update={"burst_counts": counts, "together": together})


@pytest.fixture
def make_row(make_measurement: MakeMeasurement) -> MakeRow:
    """make_row(samples of each launch [launches, turns × BURST], groups=("a", "b", "c"))."""

    def make(samples: NDArray[np.float64], groups: tuple[str | None, ...] = ("a", "b", "c")) -> Measurement:
        launches = tuple(in_bursts(make_launch(len(one)), group) for one, group in zip(samples, groups, strict=True))
        return make_measurement(samples_ms=tuple(samples.ravel().tolist()), launches=launches)

    return make


def restless(rng: np.random.Generator, launches: int = 3, turns: int = 30) -> NDArray[np.float64]:
    """How slow the machine is in every turn, [launches, turns]: it changes by half, and stays so for some turns."""
    return np.where(rng.random((launches, turns)).cumsum(axis=1) % 8 < 4, 1.0, 1.5)


def row_under(machine: NDArray[np.float64], rng: np.random.Generator, scale: float = 1.0) -> NDArray[np.float64]:
    """Samples [launches, turns × BURST] of a row on such a machine; launches are half a percent apart."""
    launches, turns = machine.shape
    own = np.stack([alike(rng, turns * BURST, spread=0.02, correlation=0.3) for _ in range(launches)])
    level = np.exp(rng.normal(0, 0.005, (launches, 1)))
    return scale * level * own * np.repeat(machine, BURST, axis=1)


def test_a_restless_machine_hides_5_percent_from_two_medians_and_not_from_bursts_in_turn(make_row: MakeRow):
    rng = np.random.default_rng(5)
    found = {"same": 0, "slower": 0, "slower by medians": 0}
    for _ in range(COMPARISONS):
        machine = restless(rng)
        base, again, slower = (make_row(row_under(machine, rng, scale)) for scale in (1.0, 1.0, 1.05))
        found["same"] += ratio_of(base, again).verdict != "no difference shown"
        found["slower"] += ratio_of(base, slower).verdict == "slower"
        by_medians = ratio_interval(base.samples_by_launch, slower.samples_by_launch)
        found["slower by medians"] += by_medians.verdict == "slower"
    assert found["same"] <= 0.05 * COMPARISONS
    assert found["slower"] >= 0.95 * COMPARISONS
    assert found["slower by medians"] < 0.5 * COMPARISONS


def test_the_ratio_is_the_median_over_all_turns(make_row: MakeRow):
    rng = np.random.default_rng(6)
    machine = restless(rng)
    base, new = row_under(machine, rng), row_under(machine, rng, 1.2)
    by_turn = np.median(new.reshape(-1, BURST), axis=1) / np.median(base.reshape(-1, BURST), axis=1)
    found = ratio_of(make_row(base), make_row(new))
    assert found.value == pytest.approx(np.median(by_turn))
    assert found.low < 1.2 < found.high
    assert (found.knows_launches, found.freedom) == (True, 2)
    back = ratio_of(make_row(new), make_row(base))
    assert (back.value, back.low) == pytest.approx((1 / found.value, 1 / found.high), rel=1e-3)


def test_turns_that_only_one_row_took_are_left_out(make_row: MakeRow):
    base, new = np.ones((2, 6 * BURST)), np.full((2, 9 * BURST), 2.0)
    groups = ("a", "b")
    assert ratios_by_turn(make_row(base, groups), make_row(new, groups)) == [[2.0] * 6] * 2


def test_launches_are_paired_by_their_group_and_more_launches_of_one_row_do_no_harm(make_row: MakeRow):
    base = make_row(np.repeat([[1.0], [2.0]], 6 * BURST, axis=1), ("a", "b"))
    new = make_row(np.repeat([[6.0], [9.0], [5.0]], 6 * BURST, axis=1), ("b", "c", "a"))
    assert ratios_by_turn(base, new) == [[5.0] * 6, [3.0] * 6]
    assert ratios_by_turn(new, base) == [[1 / 3] * 6, [1 / 5] * 6]


@pytest.mark.parametrize(
    ("groups", "turns"),
    [(("x", "y"), 9), (("a", "y"), 9), ((None, None), 9), (("a", "b"), FEWEST_TURNS - 1)],
    ids=["other groups", "only one launch shared", "taken in one go", "too few turns"],
)
def test_rows_that_were_not_measured_in_turn_are_held_against_each_other_by_their_medians(
    make_row: MakeRow, groups: tuple[str | None, ...], turns: int
):
    rng = np.random.default_rng(7)
    machine = restless(rng, launches=2, turns=turns)
    make = partial(make_row, groups=("a", "b"))
    base, new = make(row_under(machine, rng)), make_row(row_under(machine, rng, 1.3), groups)
    assert ratios_by_turn(base, new) is None
    assert ratio_of(base, new) == ratio_interval(base.samples_by_launch, new.samples_by_launch)
