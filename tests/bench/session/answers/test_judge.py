"""What is said of logits: exact tests against SciPy's, answers that are no numbers, orders of classes."""

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.session.answers.faults import class_order
from bench.session.answers.judge import NOT_ANSWERED, Logits, answers_of, confidence, distance, exact_p_value

RNG = np.random.default_rng(5)


def noise(*shape: int, size: float = 1.0) -> Logits:
    return (size * RNG.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (3, 12), (12, 3), (40, 41), (0, 700)])
def test_the_paired_test_is_the_exact_binomial_one(ours: int, theirs: int):
    expected = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert exact_p_value(ours, theirs) == pytest.approx(expected, rel=1e-9)


def test_a_picture_that_was_not_decoded_has_no_answer_and_no_confidence():
    logits = np.array([[0.0, np.log(3)], [np.nan, np.nan], [0.0, 0.0]], dtype=np.float32)
    assert answers_of(logits).tolist() == [1, NOT_ANSWERED, 0]
    assert confidence(logits) == pytest.approx((0.75 + 0.5) / 2)
    assert confidence(logits[1:2]) == 0


def test_a_distance_is_a_share_of_the_spread_and_leaves_out_what_was_not_decoded():
    expected = noise(4000, 3)
    found = expected + noise(4000, 3, size=0.1)
    assert distance(found, expected) == pytest.approx(0.1, rel=0.05)
    found[0] = np.nan
    assert distance(found, expected) == pytest.approx(0.1, rel=0.05)
    assert distance(expected, expected) == 0
    assert distance(np.full_like(expected, np.nan), expected) == np.inf


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [1, 2, 3, 0]])
def test_another_order_of_classes_is_recognised_through_noise(order: list[int]):
    expected = noise(60, 4)
    found = expected[:, order] + noise(60, 4, size=0.02)
    assert class_order(found, expected) == order


def test_equal_logits_and_unrelated_ones_have_no_other_order():
    expected = noise(60, 4)
    assert class_order(expected, expected) is None
    assert class_order(noise(60, 4), expected) is None
