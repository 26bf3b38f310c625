"""Artifacts that answer for every pixel against eager: agreement, and what is kept of the quality, image by image.

The interval is of images drawn again (bootstrap): pixels of one image are alike, so they do not count for themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from distill.vision.tasks import IGNORED, TASKS, UNKNOWN_DEPTH, TaskName
from export.artifact.manifest import PrecisionName
from export.artifact.runner import Batch
from export.proof.evidence import HeldOut
from export.proof.logits import Closeness, closeness

DRAWS = 2000
"""Of all images, with replacement."""

WITHIN = 1.25
"""Factor within which a depth is right."""

ALIKE = 0.01
"""Of two depths: they agree if they differ by no more of the larger one."""

Sums = NDArray[np.float64]
"""Of each image what its quality is made of: [N, ...]."""


@dataclass(frozen=True)
class Found:
    """What `compare` found; everything but the agreement is None without labels.

    Attributes:
        agreement: share of the pixels that are answered as eager does, in [0, 1].
        quality, eager_quality: by the task's measure.
        kept_interval: of the quality as a share of eager's, as `Parity.kept_interval`.
        share, eager_share: of the known pixels that are answered rightly, in [0, 1].
        class_pixels, class_correct, eager_class_correct: known pixels of each class, and those answered rightly.
    """

    agreement: float
    quality: float | None = None
    eager_quality: float | None = None
    kept_interval: tuple[float, float] | None = None
    share: float | None = None
    eager_share: float | None = None
    class_pixels: tuple[int, ...] | None = None
    class_correct: tuple[int, ...] | None = None
    eager_class_correct: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Pixels:
    """How the answers of one task are compared.

    Attributes:
        agreement: two answers [N, outputs, H, W] -> share of equal ones.
        agreed: what that is, in words.
        sums: answers and what is true [N, H, W] -> `Sums`, of which the quality is made.
        quality: sums of all images together [..., ...] -> the task's measure.
        share: the same -> share of the pixels answered rightly.
        of_classes: the same -> pixels of each class and those answered rightly; None where there are no classes.
    """

    agreement: Callable[[Batch, Batch], float]
    agreed: str
    sums: Callable[[Batch, NDArray[Any]], Sums]
    quality: Callable[[Sums], Sums]
    share: Callable[[Sums], float]
    of_classes: Callable[[Sums], tuple[tuple[int, ...], tuple[int, ...]] | None]


def compare(answers: Batch, held_out: HeldOut, *, error: float) -> Found:
    """Compare finite answers [N, outputs, H, W] with eager's, and both with what is true.

    Args:
        answers: of the artifact on the held-out images.
        held_out: those, and eager's answers.
        error: probability with which either bound of the interval may be on the wrong side of the truth.
    """
    eager, truth, of_task = held_out.eager_logits, held_out.labels, OF_TASK[held_out.task]
    found = Found(of_task.agreement(answers, eager))
    if truth is None:
        return found
    ours, theirs = (of_task.sums(enlarged(each, truth.shape[1:]), truth) for each in (answers, eager))
    all_ours, all_theirs = ours.sum(axis=0), theirs.sum(axis=0)
    classes, eager_classes = of_task.of_classes(all_ours), of_task.of_classes(all_theirs)
    return replace(
        found,
        quality=float(of_task.quality(all_ours)),
        eager_quality=float(of_task.quality(all_theirs)),
        kept_interval=kept_interval(held_out.task, ours, theirs, error=error),
        share=of_task.share(all_ours),
        eager_share=of_task.share(all_theirs),
        class_pixels=classes[0] if classes else None,
        class_correct=classes[1] if classes else None,
        eager_class_correct=eager_classes[1] if eager_classes else None,
    )


def enlarged(answers: Batch, size: tuple[int, ...]) -> Batch:
    """Answers [N, outputs, h, w] at the size of the picture: bilinear, with half-pixel centres; as they are if so."""
    if answers.shape[2:] == size:
        return answers
    whole = F.interpolate(torch.from_numpy(answers), size, mode="bilinear", align_corners=False)
    return whole.numpy()


def kept_interval(task: TaskName, ours: Sums, theirs: Sums, *, error: float) -> tuple[float, float] | None:
    """Bounds of the quality kept, images drawn again; None where eager has no quality to keep.

    Args:
        task: of both.
        ours: sums of each image, [N, ...].
        theirs: eager's, of the same images.
        error: probability of either tail.
    """
    images = len(ours)
    counts = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.float64)
    quality, measure = OF_TASK[task].quality, TASKS[task].measure
    mine, its = (quality(np.tensordot(counts, sums, axes=1)) for sums in (ours, theirs))
    above, below = (mine, its) if measure.higher_is_better else (its, mine)
    if not (below > 0).all():
        return None
    low, high = np.quantile(above / below, (error, 1 - error))
    return float(low), float(high)


def agreement_of(task: TaskName, answers: Batch, others: Batch) -> float:
    """Share of equal answers, of pictures or of their pixels: [N, outputs] or [N, outputs, H, W]."""
    compared = OF_TASK[task].agreement if task in OF_TASK else _same_class
    return compared(answers, others)


def closeness_of(answers: Batch, eager: Batch, precision: PrecisionName) -> Closeness:
    """As `export.proof.logits.closeness`, each pixel being an answer."""
    return closeness(_rows(answers), _rows(eager), precision)


def agreement_in_words(task: TaskName, agreement: float) -> str:
    """For the reason of a verdict."""
    return f"{OF_TASK[task].agreed} {agreement:.4%}"


def _rows(answers: Batch) -> Batch:
    return np.moveaxis(answers, 1, -1).reshape(-1, answers.shape[1])


def _confusions(logits: Batch, truth: NDArray[Any]) -> Sums:
    """[N, classes, classes]: pixels of each class (row) that are answered with each (column)."""
    classes = logits.shape[1]
    answers = logits.argmax(axis=1)
    known = truth != IGNORED
    places = truth.astype(np.int64) * classes + answers
    counted = [
        np.bincount(row[is_known], minlength=classes**2).reshape(classes, classes)
        for row, is_known in zip(places, known, strict=True)
    ]
    return np.stack(counted).astype(np.float64)


def _miou(matrices: Sums) -> Sums:
    """Mean intersection over union [...] of confusion matrices [..., classes, classes]."""
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    union = matrices.sum(-1) + matrices.sum(-2) - right
    seen = union > 0
    shares = np.divide(right, union, out=np.zeros_like(right), where=seen)
    return shares.sum(-1) / np.maximum(seen.sum(-1), 1)


def _of_classes(matrix: Sums) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(matrix.sum(1).astype(int).tolist()), tuple(np.diagonal(matrix).astype(int).tolist())


def _depth_sums(depth: Batch, truth: NDArray[Any]) -> Sums:
    """[N, 3]: squared errors, pixels within the factor, known pixels."""
    metres, found = truth.astype(np.float64), depth[:, 0].astype(np.float64)
    known = metres != UNKNOWN_DEPTH
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.maximum(np.maximum(found, 1e-3) / metres, metres / np.maximum(found, 1e-3))
    columns = ((found - metres) ** 2, ratio < WITHIN, np.ones_like(metres))
    return np.stack([(np.where(known, column, 0)).sum(axis=(1, 2)) for column in columns], axis=1)


def _same_class(logits: Batch, others: Batch) -> float:
    return float((logits.argmax(1) == others.argmax(1)).mean())


def _alike(depth: Batch, eager: Batch) -> float:
    larger = np.maximum(np.abs(depth), np.abs(eager))
    return float((np.abs(depth - eager) <= ALIKE * larger).mean())


OF_TASK: dict[TaskName, Pixels] = {
    "segmentation": Pixels(
        agreement=_same_class,
        agreed="the same class in",
        sums=_confusions,
        quality=_miou,
        share=lambda matrix: float(np.trace(matrix) / max(matrix.sum(), 1)),
        of_classes=_of_classes,
    ),
    "depth": Pixels(
        agreement=_alike,
        agreed="within 1 % of eager's depth in",
        sums=_depth_sums,
        quality=lambda sums: np.sqrt(sums[..., 0] / np.maximum(sums[..., 2], 1)),
        share=lambda sums: float(sums[1] / max(sums[2], 1)),
        of_classes=lambda _: None,
    ),
}
"""The one table of this file."""
