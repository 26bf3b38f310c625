import numpy as np
import pytest

from export.artifact.runner import Bound, run_all
from export.proof import parity
from export.proof.evidence import HeldOut
from export.proof.limits import paired_interval

LABELS = np.arange(200) % 4
EAGER = np.eye(4, dtype=np.float32)[LABELS] * 5


def held_out(labels=LABELS) -> HeldOut:
    source = "synthetic" if labels is None else "held-out"
    return HeldOut(np.zeros((200, 8, 8, 3), dtype=np.uint8), labels, EAGER, source)


def judge(logits, against, precision):
    return parity.judge(logits, against, precision, proven_by="a test")


def changed(count: int) -> np.ndarray:
    """Eager's logits, with the answer to the first `count` images changed to a wrong one."""
    logits = EAGER.copy()
    logits[:count] = np.roll(logits[:count], 1, axis=1)
    return logits


def test_numbers_are_those_of_a_case_done_by_hand() -> None:
    found = judge(EAGER + np.float32([0.5, 0, 0, 0]), held_out(), "fp32")
    assert found.max_abs_difference == 0.5
    assert found.mean_abs_difference == 0.125
    assert (found.top1_agreement, found.accuracy, found.eager_accuracy) == (1.0, 1.0, 1.0)
    assert found.verdict == "pass"


def test_one_changed_answer_fails_fp32_and_passes_int8() -> None:
    assert judge(changed(1), held_out(), "fp32").verdict == "fail"
    assert judge(changed(1), held_out(), "int8").verdict == "pass"


@pytest.mark.parametrize(("count", "verdict"), [(2, "pass"), (3, "fail")])
def test_int8_must_keep_099_of_eagers_accuracy(count: int, verdict: str) -> None:
    found = judge(changed(count), held_out(), "int8")
    assert found.verdict == verdict
    assert found.accuracy == 1 - count / 200
    assert f"keeps {1 - count / 200:.4f}" in found.reason


def test_int8_is_measured_against_eager_not_against_perfection() -> None:
    wrong_labels = (LABELS + (np.arange(200) < 100)) % 4
    found = judge(EAGER, held_out(wrong_labels), "int8")
    assert found.eager_accuracy == 0.5
    assert found.verdict == "pass"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_that_are_not_finite_fail(precision) -> None:
    logits = EAGER.copy()
    logits[7, 0] = np.nan
    found = judge(logits, held_out(), precision)
    assert found.verdict == "fail"
    assert "1 of 200 images" in found.reason
    assert found.max_abs_difference is None


def test_fp16_may_change_one_answer_in_a_thousand() -> None:
    eager = np.tile(EAGER, (5, 1))
    thousand = HeldOut(np.zeros((1000, 8, 8, 3), dtype=np.uint8), np.tile(LABELS, 5), eager, "held-out")
    for count, verdict in ((1, "pass"), (2, "fail")):
        logits = eager.copy()
        logits[:count] = np.roll(logits[:count], 1, axis=1)
        found = judge(logits, thousand, "fp16")
        assert (found.verdict, found.judged_by, found.limit) == (verdict, "agreement", 0.999)


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    found = judge(EAGER, held_out(None), "fp32")
    assert (found.verdict, found.accuracy, found.accuracy_interval) == ("pass", None, None)
    for count, verdict in ((6, "pass"), (7, "fail")):
        quantized = judge(changed(count), held_out(None), "int8")
        assert (quantized.verdict, quantized.judged_by, quantized.limit) == (verdict, "agreement", 0.97)
        assert "synthetic images (the card names no data)" in quantized.reason


def test_the_accuracy_is_said_with_a_paired_interval_and_the_number_of_images() -> None:
    found = judge(changed(1), held_out(), "int8")
    low, high = found.accuracy_interval
    assert low < found.accuracy - found.eager_accuracy < high
    assert low > -0.05
    assert "on 200 held-out images" in found.reason
    assert "points, 95%" in found.reason


def test_the_interval_holds_the_true_difference_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        theirs = rng.random(300) < 0.85
        flips = rng.random(300)
        ours = np.where(theirs, flips > 0.03, flips < 0.05)  # true difference: 0.15 * 0.05 - 0.85 * 0.03
        low, high = paired_interval(ours, theirs)
        inside += low <= 0.15 * 0.05 - 0.85 * 0.03 <= high
    assert 0.93 <= inside / 2000 <= 0.99


def test_the_interval_is_like_a_bootstrap_where_answers_differ_and_has_a_width_where_none_does() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(1000) < 0.8
    ours = theirs ^ (rng.random(1000) < 0.1)
    picks = rng.integers(0, 1000, (4000, 1000))
    bootstrap = np.quantile((ours[picks].mean(1) - theirs[picks].mean(1)), [0.025, 0.975])
    np.testing.assert_allclose(paired_interval(ours, theirs), bootstrap, atol=0.004)
    low, high = paired_interval(theirs, theirs)
    assert -0.01 < low < 0 < high < 0.01
    assert paired_interval(ours, theirs) == tuple(-end for end in reversed(paired_interval(theirs, ours)))


class Doubling:
    """A runner whose logits are its images' first pixels, and which notes the batches it sees."""

    runtime, runtime_version, threads = "a test", "1", 1

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def bind(self, batch):
        self.sizes.append(len(batch))
        return Bound(lambda: None, lambda: batch[:, :, 0, 0] * 2)


@pytest.mark.parametrize(("sizes", "seen"), [((4,), [4, 4, 4]), ((1, 3, 8), [1, 3, 8]), ((16,), [16])])
def test_the_last_batch_is_filled_up_and_its_filling_dropped(sizes, seen) -> None:
    images = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    runner = Doubling()
    np.testing.assert_array_equal(run_all(runner, images, batch_sizes=sizes)[:, 0], np.arange(10) * 2)
    assert runner.sizes == seen
