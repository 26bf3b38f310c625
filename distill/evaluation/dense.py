"""Quality of masks and depth maps on a whole split: sums over its pixels, batch by batch, so that no map is kept."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.checkpoint import DepthMetrics, Judgement, SegmentationMetrics
from distill.errors import Diverged
from distill.training.batches import Batches
from distill.training.lightning import classification
from distill.vision.datasets import Split, SplitName
from distill.vision.tasks import IGNORED, UNKNOWN_DEPTH, TaskName

SMALLEST_RATIO = 1.25
"""Within this factor a depth is right (delta < 1.25)."""


class Tally(Protocol):
    """Sums over pixels."""

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Take in a batch: answers float32 [B, outputs, H, W], what is true [B, H, W]."""
        ...

    def judgement(self, *, epoch: int, split: SplitName) -> Judgement:
        """What they say; raises Diverged if an answer was not finite."""
        ...


class MaskTally:
    """How many pixels of each class are taken for each, pixels whose class is not known left out."""

    def __init__(self, num_classes: int) -> None:
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.loss = 0.0
        self.broken = self.images = 0

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """As `Tally.add`."""
        num_classes = len(self.matrix)
        self.images += len(answers)
        self.broken += _not_finite(answers)
        self.loss += F.cross_entropy(answers, truth, ignore_index=IGNORED, reduction="sum").item()
        counted = classification.multiclass_confusion_matrix(
            answers.argmax(dim=1), truth, num_classes=num_classes, ignore_index=IGNORED
        )
        self.matrix += counted.cpu()

    def judgement(self, *, epoch: int, split: SplitName = "validation") -> Judgement:
        """As `Tally.judgement`."""
        _require_finite(self.broken, self.images, epoch, split)
        right = self.matrix.diagonal()
        wrong = self.matrix - torch.diag(right)
        confusions = [(own, other, int(wrong[own, other])) for own, other in wrong.nonzero().tolist()]
        return Judgement(
            metrics=self.metrics(epoch),
            images=tuple(self.matrix.sum(dim=1).tolist()),
            right=tuple(right.tolist()),
            confusions=tuple(sorted(confusions, key=lambda each: -each[2])),
        )

    def metrics(self, epoch: int) -> SegmentationMetrics:
        """Over all pixels so far."""
        right = self.matrix.diagonal().double()
        there, answered = self.matrix.sum(dim=1).double(), self.matrix.sum(dim=0).double()
        union = there + answered - right
        seen = union > 0
        iou = (right / union)[seen]
        dice = (2 * right / (there + answered))[seen]
        pixels = int(self.matrix.sum())
        shares = iter(iou.tolist())
        return SegmentationMetrics(
            epoch=epoch,
            miou=float(iou.mean()) if len(iou) else 0.0,
            class_iou=tuple(next(shares) if met else None for met in seen.tolist()),
            dice=float(dice.mean()) if len(dice) else 0.0,
            pixel_accuracy=float(right.sum()) / max(pixels, 1),
            loss=self.loss / max(pixels, 1),
        )


class DepthTally:
    """Errors of all pixels whose depth is known."""

    def __init__(self, num_outputs: int = 1) -> None:
        del num_outputs
        self.squares = self.shares = self.absolutes = 0.0
        self.within = self.pixels = self.broken = self.images = 0

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """As `Tally.add`; answers are held at a millimetre at least, where a ratio is asked for."""
        self.images += len(answers)
        self.broken += _not_finite(answers)
        known = truth != UNKNOWN_DEPTH
        depth, metres = answers[:, 0][known].double(), truth[known].double()
        errors = (depth - metres).abs()
        ratio = torch.maximum(depth.clamp_min(1e-3) / metres, metres / depth.clamp_min(1e-3))
        self.squares += errors.square().sum().item()
        self.shares += (errors / metres).sum().item()
        self.absolutes += errors.sum().item()
        self.within += int((ratio < SMALLEST_RATIO).sum())
        self.pixels += len(metres)

    def judgement(self, *, epoch: int, split: SplitName = "validation") -> Judgement:
        """As `Tally.judgement`; there are no classes to count."""
        _require_finite(self.broken, self.images, epoch, split)
        return Judgement(metrics=self.metrics(epoch), images=(), right=(), confusions=())

    def metrics(self, epoch: int) -> DepthMetrics:
        """Over all pixels so far."""
        count = max(self.pixels, 1)
        return DepthMetrics(
            epoch=epoch,
            rmse_m=(self.squares / count) ** 0.5,
            rel=self.shares / count,
            delta1=self.within / count,
            loss=self.absolutes / count,
        )


TALLIES: dict[TaskName, Callable[[int], Tally]] = {"segmentation": MaskTally, "depth": DepthTally}
"""Task -> sums for so many outputs."""


def tally_for(split: Split) -> Tally:
    """Empty sums for the answers to a split."""
    return TALLIES[split.task](len(split.class_names))


@torch.inference_mode()
def judge(model: nn.Module, batches: Batches, *, epoch: int, split: SplitName = "validation") -> Judgement:
    """What a model answers to every image of the batches; it gets its own mode back afterwards.

    Raises:
        Diverged: an answer is not finite.
    """
    was_training = model.training
    model.eval()
    tally = tally_for(batches.split)
    try:
        for batch in batches.in_order():
            tally.add(model(batch.images).float(), batch.labels)
    finally:
        model.train(was_training)
    return tally.judgement(epoch=epoch, split=split)


def _not_finite(answers: Tensor) -> int:
    return int((~torch.isfinite(answers)).flatten(1).any(dim=1).sum())


def _require_finite(broken: int, images: int, epoch: int, split: SplitName) -> None:
    if broken:
        fault = f"NaN or infinity for {broken} of {images} images"
        raise Diverged(f"after epoch {epoch} the network answers the {split} images with {fault}.")
