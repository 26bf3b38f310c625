"""hinton_kd: vanilla knowledge distillation (Hinton et al. 2015, arXiv:1503.02531; echo-view KD paper, Eq. 1-4)."""

from typing import ClassVar, Literal

from torch import Tensor

from distill.contract import Strict
from distill.methods.method import ALL_TASKS, Balance, Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.soft_targets import divergences, soft_target_loss


class HintonKDConfig(Strict):
    """Vanilla distillation: alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy.

    Of masks it compares the distributions of every pixel, those without a label included (pixel-wise distillation); of
    depth it takes the teacher's map as a second target, in place of the divergence (`distill.methods.task_losses`).

    Attributes:
        temperature: T of Eq. 2; softens both distributions. The paper's best is 2.
        alpha: weight of the soft targets; 1 - alpha weighs the labels (Eq. 4).
    """

    needs: ClassVar[Needs] = Needs(tasks=ALL_TASKS)
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
            "soft": alpha * samples.soft_loss(student.logits, teacher.logits, temperature=temperature),
            "label": (1 - alpha) * samples.label_loss(student.logits),
        }


def label_and_soft_losses(
    student: Outputs, teacher: Outputs, samples: Samples, *, soft_weight: float, temperature: float
) -> dict[str, Tensor]:
    """`label`, and `soft` (weighted) where it has a weight, both >= 0: what methods with hints have beside them."""
    losses = {"label": samples.label_loss(student.logits)}
    if soft_weight:
        losses["soft"] = soft_weight * samples.soft_loss(student.logits, teacher.logits, temperature=temperature)
    return losses


def soft_targets_per_image(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """As `soft_target_loss` of logits [B, classes], one value per image: [B]."""
    return divergences(student, teacher, temperature=temperature)


__all__ = ["HintonKD", "HintonKDConfig", "label_and_soft_losses", "soft_target_loss", "soft_targets_per_image"]
