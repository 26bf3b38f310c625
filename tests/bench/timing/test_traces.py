import numpy as np
import pytest

from bench.timing.traces import MIN_SAMPLES, drift, trend_z, two_modes
from tests.bench.synthetic import alike


def test_a_slow_slope_is_a_drift_with_its_size():
    rng = np.random.default_rng(0)
    samples = np.linspace(10, 11, 300) * rng.normal(1, 0.02, 300)
    assert drift(samples.tolist()) == pytest.approx(0.0645, abs=0.01)
    assert drift(samples[::-1].tolist()) == pytest.approx(-0.06, abs=0.01)


def test_throttling_in_the_middle_is_a_drift():
    rng = np.random.default_rng(1)
    samples = np.where(np.arange(400) < 220, 1.0, 1.4) * rng.normal(1, 0.03, 400)
    assert drift(samples.tolist()) == pytest.approx(0.4, abs=0.03)


def test_samples_that_are_alike_in_stretches_are_seldom_called_drift():
    rng = np.random.default_rng(2)
    called = [drift(alike(rng, 300, spread=0.05, correlation=0.9).tolist()) is not None for _ in range(200)]
    assert sum(called) <= 20


def test_few_samples_have_no_course():
    assert drift([1.0] * 10 + [2.0] * (MIN_SAMPLES - 11)) is None


def test_the_trend_is_that_of_a_slow_twin():
    samples = np.random.default_rng(3).normal(10, 1, 40) + np.arange(40) * 0.05
    blocks = [float(np.median(samples[start : start + 2])) for start in range(0, 40, 2)]
    score = sum(np.sign(blocks[j] - blocks[i]) for i in range(20) for j in range(i + 1, 20))
    expected = (score - np.sign(score)) / np.sqrt(20 * 19 * 45 / 18)
    assert trend_z(samples) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
def test_two_modes_are_found_with_their_share(share: float):
    rng = np.random.default_rng(4)
    samples = np.where(rng.random(600) < share, 81.0, 53.0) * rng.normal(1, 0.03, 600)
    found = two_modes(samples.tolist())
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(53, rel=0.02), pytest.approx(81, rel=0.02))
    assert found.high_share == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(10, 1, 400),
        lambda rng: rng.uniform(5, 10, 400),
        lambda rng: rng.lognormal(0, 0.4, 400),
        lambda rng: 1 + rng.exponential(0.3, 400),
        lambda rng: np.where(rng.random(400) < 0.04, 3.0, 1.0) * rng.normal(1, 0.02, 400),
    ],
    ids=["normal", "flat", "skewed", "exponential", "a few outliers"],
)
def test_one_mode_of_any_shape_is_not_taken_for_two(draw):
    rng = np.random.default_rng(5)
    assert sum(two_modes(draw(rng).tolist()) is not None for _ in range(100)) <= 2


def test_modes_closer_than_the_threshold_are_one():
    assert two_modes([1.00, 1.04] * 100) is None
