import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.timing.statistics import FAR_TAIL_FLOOR, FEW_SAMPLES, TAIL_FLOOR, label, summarize
from bench.timing.traces import two_modes

latencies = st.lists(st.floats(0.001, 1e4), min_size=1, max_size=300)


def test_median_and_tails_of_a_known_series():
    summary = summarize([float(value) for value in range(1, 102)])
    assert (summary.count, summary.median_ms, summary.p10_ms, summary.p90_ms) == (101, 51.0, 11.0, 91.0)


def test_throughput_is_images_by_the_median_call():
    assert summarize([3.0, 4.0, 5.0]).images_per_s(8) == 2000.0


def test_the_far_tail_needs_ten_samples_beyond_it():
    below, at = summarize([1.0] * (FAR_TAIL_FLOOR - 1)), summarize([1.0] * FAR_TAIL_FLOOR)
    assert (below.p99_ms, at.p99_ms) == (None, 1.0)


def test_tails_are_not_shown_below_their_floor():
    below, at = summarize([1.0] * (TAIL_FLOOR - 1)), summarize([1.0] * TAIL_FLOOR)
    assert (below.p10_ms, below.p90_ms) == (None, None)
    assert (at.p10_ms, at.p90_ms) == (1.0, 1.0)


@given(latencies)
def test_tails_enclose_the_median_and_order_does_not_matter(samples: list[float]):
    summary = summarize(samples)
    assert min(samples) <= summary.median_ms <= max(samples)
    if summary.p10_ms is not None and summary.p90_ms is not None:
        assert min(samples) <= summary.p10_ms <= summary.median_ms <= summary.p90_ms <= max(samples)
    assert summarize(samples[::-1]) == summary


@given(latencies, st.sampled_from([0.25, 0.5, 4.0]))
def test_the_label_does_not_depend_on_the_unit(samples: list[float], scale: float):
    assert label([scale * sample for sample in samples]) == label(samples)


def test_a_steady_series_is_valid():
    samples = np.random.default_rng(0).normal(10, 0.2, 300)
    verdict = label(samples.tolist())
    assert verdict.validity == "valid"
    assert verdict.reason == "the middle half of the samples spans 2.8 % of the median"


def test_two_modes_in_turn_are_noisy_and_no_drift():
    verdict = label([1.0, 1.2] * 50)
    assert verdict.validity == "noisy"
    assert verdict.reason.startswith("two modes: 1 and 1.2 ms, 50 % of the samples in the slower one")


def test_a_small_second_mode_that_cannot_move_the_median_is_no_objection():
    rng = np.random.default_rng(6)
    samples = np.where(rng.random(400) < 0.15, 1.5, 1.0) * rng.normal(1, 0.01, 400)
    assert two_modes(samples.tolist()) is not None
    assert label(samples.tolist()).validity == "valid"


def test_one_broad_mode_is_noisy():
    samples = np.random.default_rng(5).lognormal(0, 0.2, 400)
    assert label(samples.tolist()).reason == "the middle half of the samples spans 26.7 % of the median"


@pytest.mark.parametrize(("end", "word"), [(1.05, "slower"), (0.95, "faster")])
def test_a_step_between_first_and_last_third_is_drift(end: float, word: str):
    verdict = label([1.0] * 40 + [1.0] * 40 + [end] * 40)
    assert (verdict.validity, verdict.reason) == ("drifting", f"the last third is 5.0 % {word} than the first")


def test_a_step_below_the_threshold_is_no_drift():
    assert label([1.0] * 80 + [1.02] * 40).validity == "valid"


def test_a_difference_that_chance_explains_is_no_drift():
    first, last = [0.5, 1.0, 1.5] * 10, [0.5, 1.1, 1.5] * 10
    assert label([*first, *first, *last]).validity == "noisy"


def test_random_noise_is_seldom_called_drift():
    rng = np.random.default_rng(1)
    verdicts = [label(rng.lognormal(0, 0.2, 150).tolist()).validity for _ in range(200)]
    assert verdicts.count("drifting") <= 10


def test_few_samples_are_noisy_and_the_count_is_named():
    verdict = label([1.0] * (FEW_SAMPLES - 1))
    assert verdict.validity == "noisy"
    assert "only 19 samples" in verdict.reason


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [-1.0]])
def test_samples_that_cannot_be_are_refused(samples: list[float]):
    with pytest.raises(ValueError, match=r"no samples|cannot take"):
        summarize(samples)
