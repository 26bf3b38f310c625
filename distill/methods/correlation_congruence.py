"""correlation_congruence: images correlate in the student as they do in the teacher (Peng et al. 2019).

"Correlation congruence for knowledge distillation", arXiv:1904.01802.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.maps import POOLED, unit_length
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs
from distill.training.reduction import gathered


class CorrelationCongruenceConfig(Strict):
    """Labels, and how the images of a batch correlate in an embedding of each network's features.

    Attributes:
        taps: features that are embedded.
        weight: beta; RepDistiller's, for its form.
        dimensions: of the embeddings.
        form: `consecutive` is RepDistiller's: what one image's embeddings differ by, times what the next image's do.
            `gram` is the paper's: the difference of two matrices of Gaussian kernels.
        gamma, order: of the kernel and of its Taylor polynomial; the paper's.
    """

    family: ClassVar[Family] = "relations"

    kind: Literal["correlation_congruence"] = "correlation_congruence"
    taps: TapPairs = POOLED
    weight: Annotated[float, Field(ge=0)] = 0.02
    dimensions: Annotated[int, Field(ge=1)] = 128
    form: Literal["consecutive", "gram"] = "consecutive"
    gamma: Annotated[float, Field(gt=0)] = 0.4
    order: Annotated[int, Field(ge=1)] = 2

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return CorrelationCongruence(self, setting)


class CorrelationCongruence(Method):
    """Cross-entropy with the labels plus the weighted loss, summed over the places compared.

    Both embeddings are trained, the teacher's too, so nothing but the labels keeps them from becoming constant.
    """

    def __init__(self, config: CorrelationCongruenceConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)
        self.of_student, self.of_teacher = (
            nn.ModuleList(nn.Linear(shape.numel(), config.dimensions) for shape in shapes)
            for shapes in (
                [setting.student[ours] for ours, _ in self.pairs],
                [setting.teacher[theirs] for _, theirs in self.pairs],
            )
        )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`correlation` (weighted; of either sign in the consecutive form) and `label`."""
        assert teacher is not None
        (student,) = students
        losses = []
        for embed, embed_teacher, (ours, theirs) in zip(self.of_student, self.of_teacher, self.pairs, strict=True):
            left, right = (
                gathered(at_least_float32(layer(values.flatten(1))))
                for layer, values in (
                    (embed, at_least_float32(student.taps[ours])),
                    (embed_teacher, at_least_float32(teacher.taps[theirs])),
                )
            )
            if self.config.form == "consecutive":
                losses.append(consecutive_loss(left, right))
            else:
                losses.append(gram_loss(left, right, gamma=self.config.gamma, order=self.config.order))
        return {
            "correlation": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def consecutive_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over consecutive images i of the sum over k of d_ik * d_(i+1)k, where d = |student - teacher|.

    It depends on the order of the images. Of one image alone it is 0.

    Args:
        student: embeddings [B, d].
        teacher: embeddings [B, d] of the same images.

    Returns:
        Scalar >= 0.
    """
    differences = (student - teacher).abs()
    return (differences[:-1] * differences[1:]).sum() / max(len(student) - 1, 1)


def gram_loss(student: Tensor, teacher: Tensor, *, gamma: float, order: int) -> Tensor:
    """|| K_t - K_s ||_F^2 / B^2 with K = exp(-gamma |x_i - x_j|^2) of embeddings of length 1, as a Taylor polynomial.

    The norm is squared, as in the paper; torchdistill's is not.

    Args:
        student: embeddings [B, d].
        teacher: embeddings [B, d] of the same images.
        gamma: > 0.
        order: of the polynomial in the products of the embeddings.

    Returns:
        Scalar >= 0; the same for any order of the images.
    """
    ours, theirs = (_kernel(values, gamma=gamma, order=order) for values in (student, teacher))
    return (theirs - ours).square().mean()


def _kernel(embeddings: Tensor, *, gamma: float, order: int) -> Tensor:
    unit = unit_length(embeddings)
    with full_precision(unit):
        products = unit @ unit.T
    terms = [(2 * gamma * products).pow(power) / math.factorial(power) for power in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)
