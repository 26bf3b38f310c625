"""Answers for every pixel against eager: equal up to rounding in float, quality kept in int8."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_jaccard_index

from export.artifact.runner import Batch
from export.proof.evidence import HeldOut
from export.proof.parity import judge
from export.proof.pixels import compare

CLASSES, SIZE = 4, 12


def masks(images: int = 24, *, noise: float = 1.0) -> tuple[NDArray[np.uint8], Batch]:
    """What is true [images, SIZE, SIZE], some of it not known, and eager's logits, mostly right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, (images, SIZE, SIZE)).astype(np.uint8)
    logits = 3 * np.eye(CLASSES)[truth].transpose(0, 3, 1, 2) + noise * rng.normal(size=(images, CLASSES, SIZE, SIZE))
    truth[rng.random(truth.shape) < 0.1] = 255
    return truth, logits.astype(np.float32)


def of_masks(truth: NDArray[np.uint8], logits: Batch) -> HeldOut:
    images = np.zeros((len(truth), SIZE, SIZE, 1), dtype=np.uint8)
    return HeldOut(images, truth, logits, "held-out", 0, "ab", task="segmentation")


def test_quality_is_the_miou_of_all_pixels_together() -> None:
    truth, logits = masks()
    found = compare(logits, of_masks(truth, logits), error=0.025)
    expected = multiclass_jaccard_index(
        torch.from_numpy(logits), torch.from_numpy(truth).long(), num_classes=CLASSES, ignore_index=255
    )
    assert found.quality == pytest.approx(expected.item(), abs=1e-6)
    assert found.eager_quality == found.quality
    assert found.kept_interval == (1.0, 1.0)
    assert found.class_pixels is not None
    assert sum(found.class_pixels) == int((truth != 255).sum())


def test_a_float_artifact_passes_by_every_pixel_and_fails_by_one() -> None:
    truth, logits = masks()
    held_out = of_masks(truth, logits)
    rounded = logits * np.float32(1 + 1e-7)
    parity = judge(rounded, held_out, "fp32", proven_by="test 1")
    assert parity.verdict == "pass"
    assert parity.top1_agreement == 1.0
    assert "the same class in 100.0000%" in parity.reason
    wrong = logits.copy()
    wrong[3, :, 5, 5] = np.roll(wrong[3, :, 5, 5], 1)
    parity = judge(wrong, held_out, "fp32", proven_by="test 1")
    assert parity.verdict == "fail"
    assert "wrong numbers" in parity.reason


@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "pass"), (0.02, "pass"), (2.5, "fail")])
def test_int8_is_judged_by_the_quality_it_keeps(noise: float, verdict: str) -> None:
    truth, logits = masks(60)
    changed = logits + np.float32(noise) * np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    parity = judge(changed, of_masks(truth, logits), "int8", proven_by="test 1")
    assert (parity.verdict, parity.judged_by, parity.limit) == (verdict, "quality", 0.99)
    assert parity.quality is not None
    assert parity.eager_quality is not None
    assert parity.kept_interval is not None
    low, high = parity.kept_interval
    assert low <= parity.quality / parity.eager_quality <= high
    assert f"mIoU {100 * parity.quality:.2f} %" in parity.reason


def test_depth_keeps_its_error_in_the_direction_that_is_better() -> None:
    rng = np.random.default_rng(0)
    metres = rng.uniform(1, 6, (40, SIZE, SIZE)).astype(np.float32)
    eager = metres[:, None] + 0.3 * rng.normal(size=(40, 1, SIZE, SIZE)).astype(np.float32)
    metres[:, :2] = 0  # not known
    images = np.zeros((40, SIZE, SIZE, 3), dtype=np.uint8)
    held_out = HeldOut(images, metres, eager, "held-out", 0, "ab", task="depth")
    known = metres > 0
    same = judge(eager, held_out, "int8", proven_by="test 1")
    assert same.verdict == "pass"
    assert same.quality == pytest.approx(np.sqrt(((eager[:, 0] - metres)[known] ** 2).mean()), rel=1e-5)
    worse = eager + 0.2 * rng.normal(size=eager.shape).astype(np.float32)
    parity = judge(worse, held_out, "int8", proven_by="test 1")
    assert parity.verdict == "fail"
    assert parity.kept_interval is not None
    assert parity.kept_interval[1] < 1 / 1.02
    assert parity.class_images is None


def test_answers_that_are_not_finite_fail_in_any_precision() -> None:
    truth, logits = masks()
    broken = logits.copy()
    broken[2, 0, 0, 0] = np.nan
    parity = judge(broken, of_masks(truth, logits), "int8", proven_by="test 1")
    assert parity.verdict == "fail"
    assert "logits of 1 of 24 images are not finite" in parity.reason
