"""spherical_kd: KD on logits of one length, so only their direction is taught (Guo et al. 2020, arXiv:2010.07485)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import Balance, Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32
from distill.training.reduction import mean_over_processes

SOFTENING = 0.1
"""Share of the common length that is added, in squares, to a vector's own before it is divided by that."""


class SphericalKDConfig(Strict):
    """KD on logits scaled to the teacher's mean norm: direction is taught, confidence is not.

    Attributes:
        temperature: of the soft targets. The authors state none; 4 is this project's choice.
        alpha: weight of the soft targets.
        centred: subtract each image's mean logit first, as the layer norm of the authors' README does. Not for two
            classes, of whose centred logits nothing but the sign is left.
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["spherical_kd"] = "spherical_kd"
    temperature: Temperature = 4.0
    alpha: Balance = 0.9
    centred: bool = False

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError for centred logits of two classes."""
        if self.centred and setting.num_classes < 3:
            raise UsageError(
                f"spherical_kd with centred logits needs three classes or more, there are {setting.num_classes}: two "
                "centred logits of one length are the same but for their sign. --set method.centred=false"
            )
        return SphericalKD(self)


class SphericalKD(Method):
    """KD and cross-entropy, both on scaled logits.

    The form is the paper's: both sides divided by their norms, times the teacher's mean norm. The authors' code scales
    the student by standard deviations and leaves the teacher raw; their README has a third form. Deviation: the norm is
    softened, since the gradient of a direction has no bound where the length is zero, which is where a head that was
    initialised with zeros begins.
    """

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` and `label`, weighted by alpha and 1 - alpha, both >= 0."""
        assert teacher is not None
        (student,) = students
        scaled_student, scaled_teacher = on_the_sphere(student.logits, teacher.logits, centred=self.config.centred)
        alpha = self.config.alpha
        soft = soft_target_loss(scaled_student, scaled_teacher, temperature=self.config.temperature)
        return {"soft": alpha * soft, "label": (1 - alpha) * samples.label_loss(scaled_student)}


def on_the_sphere(student: Tensor, teacher: Tensor, *, centred: bool = False) -> tuple[Tensor, Tensor]:
    """Both logits [B, classes], scaled per image to the batch's mean norm of the teacher's.

    A vector z becomes radius * z / sqrt(|z|^2 + (radius / 10)^2). So a length of the radius comes out 0.5 % short, the
    gradient of a direction is at most ten times that of the vector, and zeros stay zeros.

    Args:
        student: logits.
        teacher: logits, detached.
        centred: each image's mean logit is subtracted first, which changes no probability but every length.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if centred:
        student, teacher = (logits - logits.mean(dim=1, keepdim=True) for logits in (student, teacher))
    radius = mean_over_processes(teacher.norm(dim=1).mean())
    return _of_length(student, radius), _of_length(teacher, radius)


def _of_length(logits: Tensor, radius: Tensor) -> Tensor:
    squares = logits.square().sum(dim=1, keepdim=True) + (SOFTENING * radius).square()
    return logits * (radius * squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt())
