"""dist: the student's probabilities correlate with the teacher's (Huang et al. 2022, arXiv:2205.10536)."""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32
from distill.training.reduction import gathered

LEAST_SPREAD = 0.3
"""Of the student's values, as a share of the teacher's; by no less they are divided."""


class DISTConfig(Strict):
    """Labels, and Pearson's correlation with the teacher between the classes of an image and within each class.

    Attributes:
        temperature: T of both; the paper's for CIFAR, it has 1 on ImageNet.
        between_weight, within_weight: beta and gamma; the paper's.
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["dist"] = "dist"
    temperature: Temperature = 4.0
    between_weight: Annotated[float, Field(ge=0)] = 2.0
    within_weight: Annotated[float, Field(ge=0)] = 2.0

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return DIST(self)


class DIST(Method):
    """Cross-entropy with the labels plus both weighted relations.

    Those within a class relate all images of a batch; processes that share a batch compute them of the whole.
    """

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`between`, `within` (both weighted) and `label`, all >= 0."""
        assert teacher is not None
        (student,) = students
        between, within = relations(student.logits, teacher.logits, temperature=self.config.temperature)
        return {
            "between": self.config.between_weight * between,
            "within": self.config.within_weight * within,
            "label": samples.label_loss(student.logits),
        }


def relations(student: Tensor, teacher: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """T^2 times the mean of 1 - correlation of two rows of probabilities, and of two columns.

    Args:
        student: logits [B, classes].
        teacher: logits [B, classes], detached.
        temperature: T > 0.

    Returns:
        Two scalars in [0, 2 T^2]: means over images and over classes, of the whole batch where processes share it.
    """
    ours, theirs = (F.softmax(gathered(at_least_float32(logits)) / temperature, dim=1) for logits in (student, teacher))
    between, within = (1 - correlations(ours, theirs)).mean(), (1 - correlations(ours.T, theirs.T)).mean()
    return temperature**2 * between, temperature**2 * within


def correlations(student: Tensor, teacher: Tensor) -> Tensor:
    """Pearson's correlation of each row of the student [n, m] with the teacher's, [n] in [-1, 1].

    Deviation: where a student's row spreads less than LEAST_SPREAD times as far as the teacher's, it is divided by
    that, since the gradient has no bound where the spread is zero, which is where a head initialised with zeros begins.
    A constant row of the teacher's correlates with nothing.
    """
    ours, theirs = (values - values.mean(dim=1, keepdim=True) for values in (student, teacher))
    squares = theirs.square().sum(1)
    tiny = torch.finfo(squares.dtype).tiny
    spread = squares.clamp_min(tiny).sqrt()
    floor = (LEAST_SPREAD * spread).square().clamp_min(tiny)
    own = torch.maximum(ours.square().sum(1), floor).sqrt()
    return torch.where(squares > tiny, (ours * theirs).sum(1) / (own * spread), torch.zeros_like(squares))
