"""Outputs of one input, told apart bit by bit."""

import numpy as np

from bench.session.repeats import MOST_OUTPUTS, of_all_launches, outputs_of

RIGHT = np.array([[1.0, -2.0]], dtype=np.float32)


def test_a_wrong_call_is_counted_with_how_far_it_is_off():
    outputs = iter([RIGHT, RIGHT + 0.5, RIGHT, RIGHT])
    first, other = outputs_of(lambda: next(outputs), 4)
    assert (first.calls, first.max_abs_difference) == (3, 0.0)
    assert (other.calls, other.max_abs_difference) == (1, 0.5)


def test_a_value_that_is_no_number_has_no_difference_and_is_told_apart():
    outputs = iter([RIGHT, RIGHT * np.float32("nan")])
    assert [seen.max_abs_difference for seen in outputs_of(lambda: next(outputs), 2)] == [0.0, None]


def test_launches_that_agree_among_themselves_but_not_with_each_other_differ():
    one, two = outputs_of(lambda: RIGHT, 10), outputs_of(lambda: RIGHT + 1, 12)
    same, apart = of_all_launches([one, one]), of_all_launches([one, two])
    assert same is not None
    assert apart is not None
    assert (same.calls, same.launches, same.differs) == (20, 2, None)
    assert [(seen.calls, seen.launches) for seen in apart.outputs] == [(12, 1), (10, 1)]
    assert (
        apart.differs
        == "one input gave 2 different outputs in 22 calls of 2 launches (10 calls unlike the most frequent one)"
    )
    assert of_all_launches([(), ()]) is None


def test_of_very_many_outputs_the_last_ones_are_counted_together():
    numbers = iter(range(3 * MOST_OUTPUTS))
    outputs = outputs_of(lambda: RIGHT + next(numbers), 3 * MOST_OUTPUTS)
    assert len(outputs) == MOST_OUTPUTS
    assert sum(seen.calls for seen in outputs) == 3 * MOST_OUTPUTS
