import numpy as np
import pytest

from export.artifact.answers import Answers, paired, share_kept, share_kept_interval
from export.artifact.paired import Paired, share_interval


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 1001])
def test_right_and_wrong_come_back_as_they_were(count):
    right = np.random.default_rng(count).random(count) < 0.7
    answers = Answers.of(right, "order")
    assert len(answers.right) == -(-count // 4)
    assert answers.unpacked().tolist() == right.tolist()
    assert Answers.model_validate_json(answers.model_dump_json()) == answers


def test_the_first_image_is_the_highest_bit_of_the_first_digit():
    assert Answers.of(np.array([True, False, False, False, False, True]), "order").right == "84"


@pytest.mark.parametrize(("num_images", "right"), [(0, ""), (5, "f"), (4, "ff"), (4, "F"), (4, "g")])
def test_digits_that_do_not_fit_are_refused(num_images, right):
    with pytest.raises(ValueError, match="hexadecimal digits"):
        Answers(order_sha256="order", num_images=num_images, right=right)


def test_two_models_are_paired_on_the_images_both_have_answered():
    ours, theirs = np.array([1, 1, 0, 0, 1, 1], dtype=bool), np.array([1, 0, 1, 0], dtype=bool)
    counts = paired(Answers.of(ours, "order"), Answers.of(theirs, "order"))
    assert counts is not None
    assert [int(cell) for cell in (counts.both, counts.only_ours, counts.only_theirs, counts.neither)] == [1, 1, 1, 1]
    assert int(counts.num_images) == 4


def test_the_share_kept_is_that_of_the_paired_counts():
    rng = np.random.default_rng(0)
    theirs = rng.random(400) < 0.9
    ours = np.where(rng.random(400) < 0.02, ~theirs, theirs)
    told = share_kept_interval(Answers.of(ours, "order"), Answers.of(theirs, "order"))
    assert told == share_interval(Paired.count(ours, theirs))


def test_what_is_kept_is_of_the_images_that_both_have_answered():
    ours = Answers.of(np.array([1, 0, 1, 0, 1, 1, 1, 1], dtype=bool), "order")
    theirs = Answers.of(np.array([1, 1, 1, 1], dtype=bool), "order")
    assert share_kept(ours, theirs) == 0.5, "not 6 of 8 against 4 of 4"
    assert share_kept(ours, Answers.of(np.zeros(4, dtype=bool), "order")) is None


def test_answers_to_other_images_or_unknown_ones_say_nothing():
    some, other = Answers.of(np.ones(4, dtype=bool), "order"), Answers.of(np.ones(4, dtype=bool), "another")
    assert paired(some, other) is None
    assert paired(None, some) is None
    assert share_kept_interval(some, None) is None
    assert share_kept(some, other) is None
