"""hinton_kd: vanilla knowledge distillation (Hinton et al. 2015, arXiv:1503.02531; echo-view KD paper, Eq. 1-4)."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Balance, Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32


class HintonKDConfig(Strict):
    """Vanilla distillation: alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy.

    Attributes:
        temperature: T of Eq. 2; softens both distributions. The paper's best is 2.
        alpha: weight of the soft targets; 1 - alpha weighs the labels (Eq. 4).
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["hinton_kd"] = "hinton_kd"
    temperature: Temperature = 2.0
    alpha: Balance = 0.5

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return HintonKD(self)


class HintonKD(Method):
    """The joint loss of Eq. 4."""

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` (Eq. 3, times T^2 and alpha) and `label` (times 1 - alpha), both >= 0."""
        assert teacher is not None
        (student,) = students
        alpha, temperature = self.config.alpha, self.config.temperature
        return {
            "soft": alpha * soft_target_loss(student.logits, teacher.logits, temperature=temperature),
            "label": (1 - alpha) * samples.label_loss(student.logits),
        }


def soft_target_loss(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), Eq. 3 with the T^2 of Eq. 4.

    T^2 keeps the gradient's size independent of T. Both sides are computed in float32 (or wider) log space.

    Args:
        student: logits [B, classes].
        teacher: logits [B, classes], detached by the caller.
        temperature: T > 0; a scalar tensor may carry gradient.

    Returns:
        Scalar >= 0 in nats up to rounding (float32 may give -T^2 * 1e-7 for equal logits), mean over the batch, sum
        over the classes.
    """
    return soft_targets_per_image(student, teacher, temperature=temperature).mean()


def label_and_soft_losses(
    student: Outputs, teacher: Outputs, samples: Samples, *, soft_weight: float, temperature: float
) -> dict[str, Tensor]:
    """`label`, and `soft` (weighted) where it has a weight, both >= 0: what methods with hints have beside them."""
    losses = {"label": samples.label_loss(student.logits)}
    if soft_weight:
        losses["soft"] = soft_weight * soft_target_loss(student.logits, teacher.logits, temperature=temperature)
    return losses


def soft_targets_per_image(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """As `soft_target_loss`, one value per image: [B]."""
    log_student = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    log_teacher = F.log_softmax(at_least_float32(teacher) / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
    return divergence * temperature**2
