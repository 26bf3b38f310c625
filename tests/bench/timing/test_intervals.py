import math
from functools import partial

import numpy as np
import pytest

from bench.timing.intervals import (
    correlation_time,
    median_interval,
    ratio_interval,
    relative_half_width,
    student_t,
)
from tests.bench.synthetic import alike, launches_of

COMPARISONS = 60
draw = partial(launches_of, launches=5, count=100, between=0.008, spread=0.03, correlation=0.6)


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[str, str]]:
    """(A against A, A against 5 % slower) for many pairs of rows with correlated samples and differing launches."""
    rng = np.random.default_rng(11)
    return [
        (
            ratio_interval(base := draw(rng).tolist(), draw(rng).tolist()).verdict,
            ratio_interval(base, draw(rng, scale=1.05).tolist()).verdict,
        )
        for _ in range(COMPARISONS)
    ]


def test_the_same_artifact_is_called_different_in_at_most_one_comparison_of_twenty(verdicts):
    assert sum(same != "no difference shown" for same, _ in verdicts) <= 0.05 * COMPARISONS


def test_a_slow_down_of_5_percent_is_found_in_nineteen_of_twenty(verdicts):
    assert sum(slower == "slower" for _, slower in verdicts) >= 0.95 * COMPARISONS


def test_intervals_hold_the_true_median_as_often_as_they_say():
    rng = np.random.default_rng(12)
    found = [median_interval(draw(rng).tolist()) for _ in range(COMPARISONS)]
    assert sum(one.low <= 1 <= one.high for one in found) >= 0.93 * COMPARISONS


def test_launches_that_differ_widen_the_interval_however_many_samples_they_have():
    rng = np.random.default_rng(13)
    settings = {"spread": 0.01, "correlation": 0.0, "count": 400, "launches": 3}
    near = median_interval(launches_of(rng, between=0.0, **settings).tolist())
    far = median_interval(launches_of(rng, between=0.05, **settings).tolist())
    assert near.half_width < 0.01 < 0.03 < far.half_width


def test_samples_that_are_alike_count_for_less():
    rng = np.random.default_rng(14)
    free = median_interval([alike(rng, 500, spread=0.05, correlation=0.0).tolist()])
    tied = median_interval([alike(rng, 500, spread=0.05, correlation=0.95).tolist()])
    assert tied.half_width > 2 * free.half_width


def test_one_launch_says_that_it_does_not_know_the_others():
    assert median_interval([[1.0, 1.1, 1.2] * 20]).knows_launches is False
    assert ratio_interval([[1.0] * 30, [1.1] * 30], [[1.0] * 30]).knows_launches is False
    assert ratio_interval([[1.0] * 30, [1.1] * 30], [[1.0] * 30] * 2).knows_launches is True


def test_the_same_samples_have_the_same_interval_and_the_unit_does_not_matter():
    launches = draw(np.random.default_rng(15))
    one, again = median_interval(launches.tolist()), median_interval(launches.tolist())
    scaled = median_interval((1000 * launches).tolist())
    assert one == again
    assert scaled.half_width == pytest.approx(one.half_width)


def test_a_ratio_turned_round_is_its_inverse():
    rng = np.random.default_rng(16)
    a, b = draw(rng).tolist(), draw(rng, scale=1.2).tolist()
    there, back = ratio_interval(a, b), ratio_interval(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((1 / back.value, 1 / back.high, 1 / back.low))
    assert (there.verdict, back.verdict) == ("slower", "faster")
    assert there.value == pytest.approx(np.median(b) / np.median(a))


def test_a_constant_has_no_width():
    found = median_interval([[2.0] * 50] * 3)
    assert (found.low, found.value, found.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("launches", [[], [[]], [[1.0], []]])
def test_a_launch_without_samples_is_refused(launches: list[list[float]]):
    with pytest.raises(ValueError, match="without samples"):
        median_interval(launches)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (8, 2.306), (30, 2.042), (math.inf, 1.960)],
)
def test_students_quantiles_are_those_of_the_tables(freedom: float, expected: float):
    assert student_t(freedom) == pytest.approx(expected, abs=0.003)


def test_the_quick_interval_is_that_of_order_statistics_for_independent_samples():
    samples = np.random.default_rng(17).normal(10, 1, 100)
    low, high = np.sort(samples)[[40, 60]]
    assert relative_half_width(samples.tolist()) == pytest.approx((high - low) / 2 / np.median(samples), rel=0.5)


def test_samples_alike_in_stretches_are_worth_fewer():
    rng = np.random.default_rng(18)
    assert correlation_time(alike(rng, 2000, spread=0.1, correlation=0.0)) < 2
    assert correlation_time(alike(rng, 2000, spread=0.1, correlation=0.9)) > 5


def test_few_samples_know_nothing():
    assert relative_half_width([1.0] * 19) == math.inf
