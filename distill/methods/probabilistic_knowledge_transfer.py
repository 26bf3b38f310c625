"""probabilistic_knowledge_transfer: neighbours in the teacher's features are neighbours in the student's.

Passalis and Tefas 2018, "Learning deep representations with probabilistic knowledge transfer", arXiv:1803.10837.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.maps import POOLED
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs
from distill.training.reduction import gathered

EPSILON = 1e-7
"""Beside norms and probabilities; the authors'."""


class ProbabilisticKnowledgeTransferConfig(Strict):
    """Labels, and with which probability each image of a batch is chosen as another's neighbour.

    Attributes:
        taps: features in which images are neighbours.
        weight: beta; RepDistiller's, for its mean over all pairs.
    """

    family: ClassVar[Family] = "relations"

    kind: Literal["probabilistic_knowledge_transfer"] = "probabilistic_knowledge_transfer"
    taps: TapPairs = POOLED
    weight: Annotated[float, Field(ge=0)] = 30000.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return ProbabilisticKnowledgeTransfer(self, setting)


class ProbabilisticKnowledgeTransfer(Method):
    """Cross-entropy with the labels plus the weighted loss, summed over the places compared.

    The loss relates all images of a batch to one another; processes that share a batch compute it of the whole.
    """

    def __init__(self, config: ProbabilisticKnowledgeTransferConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`neighbours` (weighted) and `label`."""
        assert teacher is not None
        (student,) = students
        losses = [neighbour_loss(student.taps[ours], teacher.taps[theirs]) for ours, theirs in self.pairs]
        return {
            "neighbours": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def neighbour_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over all B^2 pairs of p log((p + 1e-7) / (q + 1e-7)), p of the teacher and q of the student.

    Args:
        student: activations [B, ...].
        teacher: activations [B, ...] of the same images in any shape, detached.

    Returns:
        Scalar >= 0 up to the epsilon, in nats, of the whole batch where processes share it; the same for any order.
    """
    ours, theirs = (neighbours(gathered(at_least_float32(values).flatten(1))) for values in (student, teacher))
    return (theirs * ((theirs + EPSILON) / (ours + EPSILON)).log()).mean()


def neighbours(points: Tensor) -> Tensor:
    """Points [B, n] -> probabilities [B, B], each row's sum 1: (cosine + 1) / 2, normalised.

    A point at zero is as near to every other as a right angle is, and has no gradient. Deviation: the authors put zeros
    in the place of NaN, which does not help the gradient.
    """
    squares = points.square().sum(1, keepdim=True)
    tiny = torch.finfo(squares.dtype).tiny
    inverse = torch.where(squares > tiny, 1 / (squares.clamp_min(tiny).sqrt() + EPSILON), torch.zeros_like(squares))
    unit = points * inverse
    with full_precision(unit):
        similarities = (unit @ unit.T + 1) / 2
    return similarities / similarities.sum(1, keepdim=True)
