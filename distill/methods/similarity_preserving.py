"""similarity_preserving: images alike to the teacher shall be alike to the student (Tung and Mori 2019).

"Similarity-preserving knowledge distillation", arXiv:1907.09682.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs
from distill.training.reduction import gathered

DEEPEST = TapPairs(student=("stage-end:-1",), teacher=("stage-end:-1",))


class SimilarityPreservingConfig(Strict):
    """Labels, and which images of a batch resemble one another inside the teacher.

    Attributes:
        taps: where student and teacher are compared; shapes need not agree.
        weight: gamma of the paper, whose value this is.
    """

    family: ClassVar[Family] = "relations"

    kind: Literal["similarity_preserving"] = "similarity_preserving"
    taps: TapPairs = DEEPEST
    weight: Annotated[float, Field(ge=0)] = 3000.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return SimilarityPreserving(self, setting)


class SimilarityPreserving(Method):
    """Cross-entropy with the labels plus the weighted loss, summed over the places compared.

    The loss relates all images of a batch to one another; processes that share a batch compute it of the whole.
    """

    def __init__(self, config: SimilarityPreservingConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`similarity` (weighted) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        losses = [similarity_loss(student.taps[ours], teacher.taps[theirs]) for ours, theirs in self.pairs]
        return {
            "similarity": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """|| G_t - G_s ||_F^2 / B^2, where G is F F^T with rows of length 1 and F has an image's activation in each row.

    Args:
        student: activations [B, ...].
        teacher: activations [B, ...] of the same images in any shape, detached.

    Returns:
        Scalar in [0, 4 / B], of the whole batch where processes share it; the same for any order of the images.
    """
    ours, theirs = (similarities(gathered(at_least_float32(values).flatten(1))) for values in (student, teacher))
    return (theirs - ours).square().mean()


def similarities(activations: Tensor) -> Tensor:
    """G [B, B] of activations [B, n]. The row of an image without any activation is 0, and so is its gradient."""
    with full_precision(activations):
        products = activations @ activations.T
    squares = products.square().sum(dim=1, keepdim=True)
    tiny = torch.finfo(squares.dtype).tiny
    return products * torch.where(squares > tiny, squares.clamp_min(tiny).rsqrt(), torch.zeros_like(squares))
