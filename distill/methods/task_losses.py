"""What each task learns from: its label loss, and its loss against a teacher's answers. `LOSSES` is the one table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.methods.labels import label_loss
from distill.methods.precision import at_least_float32
from distill.methods.soft_targets import soft_target_loss
from distill.vision.tasks import IGNORED, UNKNOWN_DEPTH, TaskName

DepthError = Literal["berhu", "l1"]


class LabelLoss(Protocol):
    """Answers float [B, ...], what is true -> scalar >= 0, or one value per image [B] with reduction `none`."""

    def __call__(self, answers: Tensor, aim: Tensor, /, *, reduction: str = "mean") -> Tensor:
        """Compute it."""
        ...


class SoftLoss(Protocol):
    """Answers of student and teacher, of one shape, and a temperature that softens distributions -> scalar >= 0."""

    def __call__(self, student: Tensor, teacher: Tensor, /, *, temperature: float | Tensor) -> Tensor:
        """Compute it."""
        ...


@dataclass(frozen=True)
class TaskLosses:
    """Of one task."""

    label: LabelLoss = label_loss
    soft: SoftLoss = soft_target_loss


OF_CLASSES = TaskLosses()
"""Of a classifier of pictures."""


def pixel_loss(logits: Tensor, classes: Tensor, /, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of every pixel whose class is known, in nats, >= 0; 0 where none is known.

    Args:
        logits: [B, classes, H, W].
        classes: int64 [B, H, W], 255 where not known.
        reduction: `mean` over all known pixels of the batch; `none` for the mean of each image, [B].
    """
    losses = F.cross_entropy(at_least_float32(logits), classes, ignore_index=IGNORED, reduction="none")
    return _mean_of_known(losses, classes != IGNORED, reduction)


def depth_loss(kind: DepthError) -> LabelLoss:
    """The error of depth maps [B, 1, H, W] against metres [B, H, W] (or [B, 1, H, W]), 0 where not known.

    `l1` is the mean absolute error. `berhu` is that below c and (e^2 + c^2) / 2c above, with c a fifth of the greatest
    error of the batch (Laina et al. 2016, arXiv:1606.00373, Eq. 1-2): it asks more of the largest errors.
    """

    def loss(depth: Tensor, metres: Tensor, /, *, reduction: str = "mean") -> Tensor:
        depth = at_least_float32(depth)[:, 0]
        metres = metres.reshape(depth.shape)
        known = metres != UNKNOWN_DEPTH
        errors = torch.where(known, (depth - metres).abs(), 0.0)
        if kind == "berhu":
            bend = (0.2 * errors.detach().amax()).clamp_min(torch.finfo(errors.dtype).tiny)
            errors = torch.where(errors <= bend, errors, (errors.square() + bend**2) / (2 * bend))
        return _mean_of_known(errors, known, reduction)

    return loss


def depth_from_teacher(error: LabelLoss) -> SoftLoss:
    """The same error against the teacher's map, which is known everywhere; a temperature has no meaning for metres."""

    def loss(student: Tensor, teacher: Tensor, /, *, temperature: float | Tensor) -> Tensor:
        del temperature
        return error(student, at_least_float32(teacher).clamp_min(SMALLEST_DEPTH_M))

    return loss


SMALLEST_DEPTH_M = 1e-3
"""To which a teacher's map is held, so that none of its pixels counts as unknown."""


def losses_of(task: TaskName, depth_error: DepthError) -> TaskLosses:
    """Those of a task; `depth_error` says how depths are compared."""
    return LOSSES[task](depth_error)


LOSSES: dict[TaskName, Callable[[DepthError], TaskLosses]] = {
    "classification": lambda _: OF_CLASSES,
    "segmentation": lambda _: TaskLosses(pixel_loss),
    "depth": lambda error: TaskLosses(depth_loss(error), depth_from_teacher(depth_loss(error))),
}


def _mean_of_known(losses: Tensor, known: Tensor, reduction: str) -> Tensor:
    """Mean of losses [B, H, W], which are 0 where `known` is False: over all, or of each image."""
    if reduction == "mean":
        return losses.sum() / known.sum().clamp_min(1)
    return losses.flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)
