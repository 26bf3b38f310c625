"""spherical_kd: KD on logits of one length, so only their direction is taught (Guo et al. 2020, arXiv:2010.07485)."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from distill.contract import Strict
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import Balance, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32
from distill.reduction import mean_over_processes


class SphericalKDConfig(Strict):
    """KD on logits scaled to the teacher's mean norm: direction is taught, confidence is not.

    Attributes:
        temperature: of the soft targets. The authors state none; 4 is this project's choice.
        alpha: weight of the soft targets.
    """

    needs: ClassVar[Needs] = Needs()

    kind: Literal["spherical_kd"] = "spherical_kd"
    temperature: Temperature = 4.0
    alpha: Balance = 0.9

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return SphericalKD(self)


class SphericalKD(Method):
    """KD and cross-entropy, both on scaled logits.

    Deviation: the paper's form is used (both sides normalised to the teacher's mean norm). The authors' code scales the
    student by standard deviations and leaves the teacher raw; their README has a third form.
    """

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` and `label`, weighted by alpha and 1 - alpha, both >= 0."""
        assert teacher is not None
        (student,) = students
        scaled_student, scaled_teacher = on_the_sphere(student.logits, teacher.logits)
        alpha = self.config.alpha
        soft = soft_target_loss(scaled_student, scaled_teacher, temperature=self.config.temperature)
        return {"soft": alpha * soft, "label": (1 - alpha) * F.cross_entropy(scaled_student, samples.labels)}


def on_the_sphere(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both logits [B, classes], centred and scaled per image to the batch's mean norm of the centred teacher logits.

    Centring changes no probability and makes the norm independent of a constant added to all logits.
    """
    centred_student = at_least_float32(student) - at_least_float32(student).mean(dim=1, keepdim=True)
    centred_teacher = at_least_float32(teacher) - at_least_float32(teacher).mean(dim=1, keepdim=True)
    radius = mean_over_processes(centred_teacher.norm(dim=1).mean())
    return F.normalize(centred_student, dim=1) * radius, F.normalize(centred_teacher, dim=1) * radius
