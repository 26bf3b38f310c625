"""Float artifacts are judged by their logits; images that cannot show a difference leave the verdict open."""

import numpy as np
import pytest

from export.proof import parity
from export.proof.evidence import HeldOut
from export.proof.logits import closeness, spread_of, why_not_exercised

RNG = np.random.default_rng(0)
EAGER = RNG.normal(0, 2, (200, 5)).astype(np.float32) + np.float32([3, 0, 0, 0, -3])


def judge(logits: np.ndarray, eager: np.ndarray, precision="fp32", num_made: int = 0):
    images = np.zeros((len(eager), 8, 8, 3), np.uint8)
    held_out = HeldOut(images, None, eager, "folder" if num_made else "synthetic", num_made=num_made)
    return parity.judge(logits, held_out, precision, proven_by="a test")


def test_the_spread_is_that_from_image_to_image_not_from_class_to_class() -> None:
    assert spread_of(EAGER) == pytest.approx(2, rel=0.05)
    assert spread_of(EAGER + np.float32([100, 0, 0, 0, -100])) == pytest.approx(spread_of(EAGER), rel=1e-3)
    assert spread_of(EAGER[:1]) == pytest.approx(float(EAGER[0].std()), rel=1e-5)


@pytest.mark.parametrize(
    ("precision", "off", "verdict"),
    [("fp32", 1e-4, "pass"), ("fp32", 0.02, "fail"), ("fp16", 0.02, "pass"), ("fp16", 1.5, "fail")],
)
def test_a_logit_that_is_too_far_off_fails_though_every_answer_is_the_same(precision, off, verdict) -> None:
    logits = EAGER.copy()
    logits[np.arange(200), EAGER.argmax(1)] += np.float32(off)
    found = judge(logits, EAGER, precision)
    assert (found.verdict, found.top1_agreement) == (verdict, 1.0)
    assert ("wrong numbers: logits are off by up to" in found.reason) == (verdict == "fail")


def test_an_answer_that_flips_between_level_classes_is_no_wrong_number() -> None:
    eager = EAGER.copy()
    eager[7, :2] = 9, 9 - 1e-5
    logits = eager.copy()
    logits[7, 1] += np.float32(3e-5)
    found = judge(logits, eager)
    assert (found.verdict, found.top1_agreement) == ("pass", 0.995)
    assert "1 other answer(s) are near ties" in found.reason
    assert closeness(logits, eager, "fp32").agreement == 1.0


def test_rounding_of_large_logits_that_no_image_moves_is_no_wrong_number() -> None:
    eager = np.float32([100, 90]) + RNG.normal(0, 0.2, (50, 2)).astype(np.float32)
    assert closeness(eager + np.float32(5e-4), eager, "fp32").is_close
    assert not closeness(eager + np.float32(5e-3), eager, "fp32").is_close


def test_images_that_all_get_one_answer_leave_it_open_and_wrong_numbers_still_fail() -> None:
    eager = EAGER.copy()
    eager[:, 2] += 50
    found = judge(eager, eager)
    assert found.verdict == "open"
    assert "eager gives all of them the same answer (class 2)" in found.reason
    assert judge(eager + np.float32(0.5), eager).verdict == "fail"
    assert judge(eager, eager, "int8").verdict == "open"


def test_logits_that_hardly_depend_on_the_image_leave_it_open() -> None:
    eager = np.float32([4, 4, -4]) + RNG.normal(0, 1e-4, (50, 3)).astype(np.float32)
    assert len(set(eager.argmax(1))) == 2
    assert why_not_exercised(eager) == "eager's logits hardly depend on the image"
    assert judge(eager, eager).verdict == "open"
    assert why_not_exercised(EAGER) is None


def test_made_images_are_counted_apart() -> None:
    assert "190 images of the folder and 10 made ones" in judge(EAGER, EAGER, num_made=10).reason
