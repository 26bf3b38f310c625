"""Measures of masks and depth maps: over all pixels at once, against torchmetrics and slow twins."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import multiclass_jaccard_index

from distill.checkpoint import DepthMetrics, SegmentationMetrics
from distill.errors import Diverged
from distill.evaluation.dense import DepthTally, MaskTally

CLASSES = 5


def masks() -> tuple[Tensor, Tensor]:
    """Logits [6, CLASSES, 7, 9] and classes of which one is nowhere and some pixels are not known."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, CLASSES - 1, (6, 7, 9), generator=generator)
    right = torch.nn.functional.one_hot(truth, CLASSES).permute(0, 3, 1, 2).float()
    logits = 2 * right + 2 * torch.randn(6, CLASSES, 7, 9, generator=generator)
    logits[:, CLASSES - 1] = -100  # nor is it answered
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = 255
    return logits, truth


def tallied(logits: Tensor, truth: Tensor, sizes: tuple[int, ...]) -> SegmentationMetrics:
    tally = MaskTally(CLASSES)
    for part, known in zip(logits.split(sizes), truth.split(sizes), strict=True):
        tally.add(part, known)
    return tally.judgement(epoch=1).metrics  # type: ignore[return-value]


def test_miou_is_torchmetrics_and_the_slow_twins_over_the_whole_split() -> None:
    logits, truth = masks()
    found = tallied(logits, truth, (4, 1, 1))
    expected = multiclass_jaccard_index(logits, truth, num_classes=CLASSES, average="macro", ignore_index=255)
    assert found.miou == pytest.approx(expected.item(), abs=1e-6)
    answers, classes, known = logits.argmax(1).numpy(), truth.numpy(), truth.numpy() != 255
    ious, dices = [], []
    for label in range(CLASSES - 1):
        ours, theirs = (answers == label) & known, (classes == label) & known
        ious.append((ours & theirs).sum() / (ours | theirs).sum())
        dices.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    assert found.class_iou == pytest.approx((*ious, None))
    assert found.miou == pytest.approx(np.mean(ious))
    assert found.dice == pytest.approx(np.mean(dices))
    assert found.pixel_accuracy == pytest.approx((answers == classes)[known].mean())


def test_batches_of_any_size_give_the_same_and_it_is_no_mean_of_batches() -> None:
    logits, truth = masks()
    whole = tallied(logits, truth, (6,))
    in_parts = tallied(logits, truth, (4, 1, 1))
    assert in_parts.model_copy(update={"loss": whole.loss}) == whole
    assert in_parts.loss == pytest.approx(whole.loss, rel=1e-6)
    batches = [tallied(part[None], known[None], (1,)).miou for part, known in zip(logits, truth, strict=True)]
    assert abs(np.mean(batches) - whole.miou) > 1e-3


def test_a_judgement_counts_pixels_and_not_those_that_are_not_known() -> None:
    logits, truth = masks()
    tally = MaskTally(CLASSES)
    tally.add(logits, truth)
    judgement = tally.judgement(epoch=3)
    assert sum(judgement.images) == int((truth != 255).sum())
    assert judgement.images[CLASSES - 1] == 0
    assert sum(judgement.right) + sum(count for *_, count in judgement.confusions) == sum(judgement.images)


def test_depth_is_measured_as_torchmetrics_and_the_slow_twin_do() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = 1 + 7 * torch.rand(4, 5, 6, generator=generator)
    depth = (truth * (1 + 0.3 * torch.randn(truth.shape, generator=generator)))[:, None]
    truth[torch.rand(truth.shape, generator=generator) < 0.3] = 0
    tally = DepthTally()
    for part, known in zip(depth.split(3), truth.split(3), strict=True):
        tally.add(part, known)
    found = tally.judgement(epoch=1).metrics
    assert isinstance(found, DepthMetrics)
    known = truth > 0
    expected = mean_squared_error(depth[:, 0][known], truth[known], squared=False)
    assert found.rmse_m == pytest.approx(expected.item(), rel=1e-5)
    pairs = list(zip(depth[:, 0][known].tolist(), truth[known].tolist(), strict=True))
    assert found.rel == pytest.approx(sum(abs(ours - true) / true for ours, true in pairs) / len(pairs), rel=1e-5)
    within = [max(max(ours, 1e-3) / true, true / max(ours, 1e-3)) < 1.25 for ours, true in pairs]
    assert found.delta1 == pytest.approx(sum(within) / len(within))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_told(value: float) -> None:
    logits, truth = masks()
    logits[2, 0, 0, 0] = value
    with pytest.raises(Diverged, match="NaN or infinity for 1 of 6 images"):
        tallied(logits, truth, (6,))
