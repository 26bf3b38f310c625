"""weighted_soft_labels: soft targets weighed per image by how much more the student still errs (Zhou et al. 2021).

"Rethinking soft labels for knowledge distillation: a bias-variance tradeoff perspective", arXiv:2102.00650.
"""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.labels import label_loss
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32


class WeightedSoftLabelsConfig(Strict):
    """Soft targets weighed per image: the less the student needs them, the less they count.

    Attributes:
        temperature, alpha: T and weight of the soft part; the authors' values for CIFAR. Labels have weight 1.
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["weighted_soft_labels"] = "weighted_soft_labels"
    temperature: Temperature = 4.0
    alpha: Annotated[float, Field(ge=0)] = 2.25

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return WeightedSoftLabels(self)


class WeightedSoftLabels(Method):
    """Cross-entropy with the labels plus weighted cross-entropy with the soft targets."""

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` (times alpha) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        soft = weighted_soft_label_loss(
            student.logits, teacher.logits, samples.labels, temperature=self.config.temperature
        )
        return {"soft": self.config.alpha * soft, "label": samples.label_loss(student.logits)}


def weighted_soft_label_loss(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """T^2 * mean of w_i * H(p_t, p_s)_i with w_i = 1 - exp(-l_s / l_t), l = label loss at temperature 1, w detached.

    A cross-entropy, not a divergence, as in the authors' code; the two differ by the teacher's entropy, which matters
    for the value and not for the gradient. A teacher that is certain (l_t = 0) gives w = 1.

    Args:
        student: logits [B, classes].
        teacher: logits [B, classes], detached.
        labels: int64 [B].
        temperature: T > 0.

    Returns:
        Scalar >= 0 in nats.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    with torch.no_grad():
        student_loss = label_loss(student, labels, reduction="none")
        teacher_loss = label_loss(teacher, labels, reduction="none")
        weights = 1 - torch.exp(-student_loss / (teacher_loss + 1e-7))
    targets = F.softmax(teacher / temperature, dim=1)
    entropies = -(targets * F.log_softmax(student / temperature, dim=1)).sum(dim=1)
    return temperature**2 * (weights * entropies).mean()
