"""How many epochs for how many students, so that it fits into the time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_demo.ship.question import in_words, seconds_of
from android_demo.ship.training import Cost, cost_s, longest, rungs


@pytest.mark.parametrize(
    ("epochs", "count", "expected"),
    [
        (24, 1, [(24, 1)]),
        (24, 2, [(24, 2)]),
        (24, 3, [(12, 3), (24, 2)]),
        (24, 4, [(12, 4), (24, 2)]),
        (24, 8, [(6, 8), (12, 4), (24, 2)]),
        (2, 8, [(1, 4), (2, 2)]),
        (1, 4, [(1, 2)]),
    ],
)
def test_the_better_half_goes_twice_as_far(epochs: int, count: int, expected: list[tuple[int, int]]) -> None:
    assert rungs(epochs, count) == expected


@given(st.integers(1, 200), st.lists(st.floats(0.1, 1000), min_size=1, max_size=9), st.floats(0, 1e5))
def test_the_longest_training_fits_and_one_epoch_more_would_not(
    epochs: int, seconds: list[float], left_s: float
) -> None:
    costs = [Cost(each, 1.0) for each in seconds]
    length = longest(epochs, costs, left_s)
    assert 1 <= length <= epochs
    assert length == 1 or cost_s(length, costs) <= left_s
    assert length == epochs or cost_s(length + 1, costs) > left_s
    assert cost_s(length + 1, costs) >= cost_s(length, costs)


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [("2h", 7200, "2 h 0 min"), ("1h30m", 5400, "1 h 30 min"), ("90s", 90, "2 min"), ("45", 2700, "45 min")],
)
def test_durations(text: str, seconds: float, words: str) -> None:
    assert seconds_of(text) == seconds
    assert in_words(seconds) == words
