import numpy as np
import pytest

from export.evidence import HeldOut
from export.parity import judge

LABELS = np.arange(200) % 4
EAGER = np.eye(4, dtype=np.float32)[LABELS] * 5


def held_out(labels=LABELS) -> HeldOut:
    return HeldOut(np.zeros((200, 8, 8, 3), dtype=np.uint8), labels, EAGER)


def changed(count: int) -> np.ndarray:
    """Eager's logits, with the answer to the first `count` images changed to a wrong one."""
    logits = EAGER.copy()
    logits[:count] = np.roll(logits[:count], 1, axis=1)
    return logits


def test_numbers_are_those_of_a_case_done_by_hand() -> None:
    parity = judge(EAGER + np.float32([0.5, 0, 0, 0]), held_out(), "fp32")
    assert parity.max_abs_difference == 0.5
    assert parity.mean_abs_difference == 0.125
    assert (parity.top1_agreement, parity.accuracy, parity.eager_accuracy) == (1.0, 1.0, 1.0)
    assert parity.verdict == "pass"


def test_one_changed_answer_fails_fp32_and_passes_int8() -> None:
    assert judge(changed(1), held_out(), "fp32").verdict == "fail"
    assert judge(changed(1), held_out(), "int8").verdict == "pass"


@pytest.mark.parametrize(("count", "verdict"), [(2, "pass"), (3, "fail")])
def test_int8_must_keep_099_of_eagers_accuracy(count: int, verdict: str) -> None:
    parity = judge(changed(count), held_out(), "int8")
    assert parity.verdict == verdict
    assert parity.accuracy == 1 - count / 200
    assert f"keeps {1 - count / 200:.4f}" in parity.reason


def test_int8_is_measured_against_eager_not_against_perfection() -> None:
    wrong_labels = (LABELS + (np.arange(200) < 100)) % 4
    parity = judge(EAGER, held_out(wrong_labels), "int8")
    assert parity.eager_accuracy == 0.5
    assert parity.verdict == "pass"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_that_are_not_finite_fail(precision) -> None:
    logits = EAGER.copy()
    logits[7, 0] = np.nan
    parity = judge(logits, held_out(), precision)
    assert parity.verdict == "fail"
    assert "1 of 200 images" in parity.reason
    assert parity.max_abs_difference is None


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    parity = judge(EAGER, held_out(None), "fp32")
    assert parity.verdict == "pass"
    assert parity.accuracy is None
    assert judge(EAGER, held_out(None), "int8").verdict == "fail"
