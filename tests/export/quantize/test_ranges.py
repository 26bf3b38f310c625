import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.quantize.ranges import Histogram, find_range

RNG = np.random.default_rng(0)
HARD_SWISH = (lambda x: x * np.clip(x + 3, 0, 6) / 6)(RNG.normal(0, 2, 50_000))
SAMPLES = {
    "relu": np.maximum(RNG.normal(0, 1, 50_000), 0),
    "hard swish": HARD_SWISH,
    "normal": RNG.normal(0, 1, 50_000),
    "heavy tails": RNG.standard_t(3, 50_000),
}


def histogram(*parts: np.ndarray) -> Histogram:
    seen = Histogram()
    for part in parts:
        seen.add(part.astype(np.float32))
    return seen


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    """What 256 levels between low and high make of the values themselves, without a histogram."""
    step = (high - low) / 255
    kept = np.clip(np.round((values - low) / step), 0, 255) * step + low
    return float(((values - kept) ** 2).mean())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_nothing_is_lost_and_the_order_of_the_images_does_not_matter(values: list[float], random) -> None:
    array = np.array(values, dtype=np.float32)
    shuffled = array.copy()
    random.shuffle(shuffled)
    first, second = histogram(array), histogram(*np.array_split(shuffled, 3))
    assert first.counts.sum() == second.counts.sum() == len(array)
    assert (first.low, first.high) == (array.min(), array.max()) == (second.low, second.high)
    assert first.width == second.width
    np.testing.assert_array_equal(first.counts, second.counts)


def test_a_value_that_vanishes_beside_the_width_is_counted_where_it_would_be_alone() -> None:
    tiny, large = np.array([-2.8e-45], dtype=np.float32), np.array([8192.0], dtype=np.float32)
    np.testing.assert_array_equal(histogram(tiny, large).counts, histogram(np.concatenate([large, tiny])).counts)


def test_merged_bins_are_those_that_one_pass_would_have_filled() -> None:
    small, large = RNG.normal(0, 0.01, 5_000), RNG.normal(0, 100, 5_000)
    grown, at_once = histogram(small, large), histogram(np.concatenate([small, large]))
    np.testing.assert_array_equal(grown.counts, at_once.counts)


@pytest.mark.parametrize("name", SAMPLES)
def test_min_max_is_everything_seen_and_holds_zero(name: str) -> None:
    values = SAMPLES[name].astype(np.float32)
    assert find_range(histogram(values), "min-max") == (min(values.min(), 0), max(values.max(), 0))
    assert find_range(histogram(values + 100), "min-max")[0] == 0.0


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("percentile", [99.9, 99.0, 90.0])
def test_percentile_keeps_the_central_share(name: str, percentile: float) -> None:
    values = SAMPLES[name].astype(np.float32)
    seen = histogram(values)
    low, high = find_range(seen, "percentile", percentile=percentile)
    cut = (100 - percentile) / 200
    expected = np.quantile(values, [cut, 1 - cut])
    np.testing.assert_allclose([low, high], [min(expected[0], 0), max(expected[1], 0)], atol=4 * seen.width)


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_is_as_good_as_any_clipping_found_on_the_values_themselves(name: str) -> None:
    values = SAMPLES[name].astype(np.float32).astype(np.float64)
    low, high = find_range(histogram(values), "mse")
    candidates = [
        squared_error(values, values.min() * a or -1e-9, values.max() * b)
        for a in np.arange(0.3, 1.01, 0.1)
        for b in np.arange(0.3, 1.01, 0.1)
    ]
    assert squared_error(values, low, high) <= min(candidates) * 1.05
    assert squared_error(values, low, high) <= squared_error(values, values.min(), values.max())


def test_mse_and_entropy_cut_off_outliers_and_min_max_does_not() -> None:
    seen = histogram(SAMPLES["heavy tails"])
    full, mse, entropy = (find_range(seen, calibrator) for calibrator in ("min-max", "mse", "entropy"))
    assert full[1] > mse[1] > 1
    assert full[1] > entropy[1] > 1


def test_entropy_keeps_the_whole_range_of_too_few_values_to_judge_by() -> None:
    """Logits and squeezed channels of a few images: no candidate can be told from another."""
    few = histogram(RNG.normal(0, 3, 200))
    assert find_range(few, "entropy") == find_range(few, "min-max")


@pytest.mark.parametrize("name", ["relu", "hard swish", "normal"])
def test_entropy_keeps_most_of_a_range_without_outliers(name: str) -> None:
    seen = histogram(SAMPLES[name])
    assert find_range(seen, "entropy")[1] > 0.5 * seen.high


def test_more_levels_clip_less() -> None:
    seen = histogram(SAMPLES["heavy tails"])
    assert find_range(seen, "mse", levels=2**16)[1] > find_range(seen, "mse", levels=256)[1]


def test_padding_with_minus_infinity_is_left_out_and_not_a_number_is_an_error() -> None:
    seen = histogram(np.array([-np.inf, -1.0, 2.0]))
    assert find_range(seen, "min-max") == (-1.0, 2.0)
    with pytest.raises(ValueError, match="not a number"):
        seen.add(np.array([np.nan]))


def test_a_tensor_that_is_always_zero_or_never_seen_has_no_range() -> None:
    for calibrator in ("min-max", "percentile", "mse", "entropy"):
        assert find_range(histogram(np.zeros(10)), calibrator, percentile=99.0) == (0.0, 0.0)
        assert find_range(Histogram(), calibrator) == (0.0, 0.0)
