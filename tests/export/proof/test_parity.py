import numpy as np
import pytest

from distill.vision.preprocess import Preprocess
from export.artifact.runner import Bound, run_all
from export.proof import parity
from export.proof.evidence import HeldOut

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
    found = judge(EAGER + np.float32([0.125, 0, 0, 0]), held_out(), "fp16")
    assert found.max_abs_difference == 0.125
    assert found.mean_abs_difference == 0.03125
    assert (found.top1_agreement, found.accuracy, found.eager_accuracy) == (1.0, 1.0, 1.0)
    assert found.verdict == "pass"


def test_one_changed_answer_fails_fp32() -> None:
    assert judge(changed(1), held_out(), "fp32").verdict == "fail"


def repeated(times: int, labels: np.ndarray = LABELS) -> HeldOut:
    images = np.zeros((200 * times, 8, 8, 3), dtype=np.uint8)
    return HeldOut(images, np.tile(labels, times), np.tile(EAGER, (times, 1)), "held-out")


@pytest.mark.parametrize(("count", "verdict"), [(0, "pass"), (3, "pass"), (4, "open"), (11, "open"), (17, "fail")])
def test_int8_keeps_the_limit_loses_more_or_leaves_it_open(count: int, verdict: str) -> None:
    """Of 1,000 images: 11 are one too many, and as many may be chance."""
    logits = np.tile(EAGER, (5, 1))
    logits[:count] = np.roll(logits[:count], 1, axis=1)
    found = judge(logits, repeated(5), "int8")
    assert found.verdict == verdict
    assert found.accuracy == 1 - count / 1000
    assert f"keeps {1 - count / 1000:.4f} of eager's accuracy on 1000 held-out images" in found.reason
    low, high = found.kept_interval
    assert low <= 1 - count / 1000 <= high
    assert (low >= 0.99, high < 0.99) == (verdict == "pass", verdict == "fail")


def test_int8_is_measured_against_eager_not_against_perfection() -> None:
    wrong_labels = (LABELS + (np.arange(200) < 100)) % 4
    found = judge(np.tile(EAGER, (5, 1)), repeated(5, wrong_labels), "int8")
    assert found.eager_accuracy == 0.5
    assert found.verdict == "pass"


def test_a_model_that_is_never_right_has_nothing_to_lose() -> None:
    found = judge(EAGER, held_out((LABELS + 1) % 4), "int8")
    assert (found.verdict, found.kept_interval) == ("pass", None)
    assert "eager is never right on 200 held-out images" in found.reason


def test_what_accuracy_hides_is_measured_of_both() -> None:
    logits = EAGER.copy() / 5
    logits[LABELS == 2] = [0, 0, 0, 1]
    found = judge(logits, held_out(), "int8")
    sure, unsure = (np.exp(score) / (np.exp(score) + 3) for score in (5.0, 1.0))
    assert (found.eager_confidence, found.confidence) == pytest.approx((sure, unsure))
    assert found.eager_calibration_error == pytest.approx(1 - sure)
    assert found.calibration_error == pytest.approx(0.75 - unsure)
    assert found.class_images == found.eager_class_correct == (50, 50, 50, 50)
    assert found.class_correct == (50, 50, 0, 50)


class Spotted:
    """A runner whose logits are one-hot of its images' first pixel."""

    runtime, runtime_version, threads = "a test", "1", 1

    def bind(self, batch):
        answers = np.rint(batch[:, 0, 0, 0] * 255).astype(int)
        return Bound(lambda: None, lambda: np.eye(4, dtype=np.float32)[answers])


def spots(answers: np.ndarray) -> HeldOut:
    """Images that `Spotted` answers so, all of class 0, which eager answers rightly."""
    images = np.zeros((len(answers), 1, 1, 3), dtype=np.uint8) + answers[:, None, None, None].astype(np.uint8)
    eager = np.tile(np.eye(4, dtype=np.float32)[0], (len(answers), 1))
    return HeldOut(images, np.zeros(len(answers), dtype=np.int64), eager, "held-out", seed=0)


PREPROCESS = Preprocess(size_px=8, channels=3, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("wrong", "verdict", "images"),
    [
        (0.0, "pass", 500),
        (0.05, "fail", 500),
        (0.004, "pass", 2000),
        (0.005, "pass", 4000),
        (0.01, "open", 4000),
        (0.016, "fail", 2000),
    ],
)
def test_more_images_are_taken_while_the_answer_is_open(wrong: float, verdict: str, images: int) -> None:
    answers = np.zeros(4000, dtype=int)
    for count in (500, 1000, 2000, 4000):  # the same share in all that is judged on
        missing = round(count * wrong) - int(answers.sum())
        answers[count - missing : count] = 1
    taken: list[int] = []

    def further(held_out: HeldOut) -> HeldOut | None:
        count = len(held_out.images)
        taken.append(count)
        return spots(answers[count : 2 * count]) if count < len(answers) else None

    found = parity.measure(Spotted(), spots(answers[:500]), PREPROCESS, "int8", 1, further)
    assert (found.verdict, found.num_images) == (verdict, images)
    assert found.class_images == (images, 0, 0, 0)
    assert taken == [count for count in (500, 1000, 2000, 4000) if count < images or verdict == "open"]


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
    eager[:2] = [5, 4.9, 0, 0]  # closer than half precision may move them, further apart than a near tie
    thousand = HeldOut(np.zeros((1000, 8, 8, 3), dtype=np.uint8), np.tile(LABELS, 5), eager, "held-out")
    for count, verdict in ((1, "pass"), (2, "fail")):
        logits = eager.copy()
        logits[:count, 1] += np.float32(0.2)
        found = judge(logits, thousand, "fp16")
        assert (found.verdict, found.judged_by, found.limit) == (verdict, "agreement", 0.999)


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    found = judge(EAGER, held_out(None), "fp32")
    assert (found.verdict, found.accuracy, found.accuracy_interval) == ("pass", None, None)
    for count, verdict in ((6, "pass"), (7, "fail")):
        quantized = judge(changed(count), held_out(None), "int8")
        assert (quantized.verdict, quantized.judged_by, quantized.limit) == (verdict, "agreement", 0.97)
        assert "synthetic images (the card names no data)" in quantized.reason


def test_the_accuracy_is_said_with_paired_intervals_and_the_number_of_images() -> None:
    found = judge(changed(1), held_out(), "int8")
    low, high = found.accuracy_interval
    assert low < found.accuracy - found.eager_accuracy < high
    assert low > -0.05
    low, high = found.kept_interval
    assert f"on 200 held-out images ({low:.4f} to {high:.4f}, 95%), int8 must keep 0.99" in found.reason


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
