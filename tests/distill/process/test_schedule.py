import numpy as np
import pytest

from distill.process.schedule import interpolated, weights_above

RAW = [[1.0, 2.0], [3.0, 0.0], [0.1, 0.7]]


def test_a_process_is_exact_at_its_ends_and_its_rows_and_linear_between() -> None:
    assert interpolated(RAW, 0.0) == RAW[0]
    assert interpolated(RAW, 0.5) == RAW[1]
    assert interpolated(RAW, 1.0) == RAW[2]
    assert interpolated(RAW, 0.25) == pytest.approx([2.0, 1.0])
    for progress in np.linspace(0, 1, 23):
        expected = [np.interp(progress * 2, [0, 1, 2], column) for column in zip(*RAW, strict=True)]
        assert interpolated(RAW, progress) == pytest.approx(expected, abs=1e-12)


def test_a_constant_process_stays_what_it_is_to_the_bit() -> None:
    row = [0.1, 1 / 3, 0.7, -2.0]
    for progress in np.linspace(0, 1, 101):
        assert interpolated([row] * 7, progress) == row
        assert interpolated([row], progress) == row


def test_what_is_not_above_the_threshold_is_left_out_and_counts_as_much_as_it_for_the_others() -> None:
    raw = [2.0, 0.5, -3.0, 0.7]
    powers = np.exp([2.0, 0.5, 0.5, 0.7, 1.0])
    expected = powers / powers.sum()
    found = weights_above(raw, 0.5, "biased_softmax")
    assert list(found) == [0, 3]
    assert list(found.values()) == pytest.approx([expected[0], expected[3]])
    assert weights_above([0.5, 0.2], 0.5, "biased_softmax") == {}
    whole = weights_above(raw, -10.0, "biased_softmax")
    assert sum(whole.values()) < 1
    assert list(whole) == [0, 1, 2, 3]
