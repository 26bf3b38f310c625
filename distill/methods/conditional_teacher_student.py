"""conditional_teacher_student: soft targets where the teacher is right, the label where it is wrong.

Meng et al. 2019 (ICASSP, "Conditional teacher-student learning"); echo-view KD paper, section 3.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill.contract import Strict
from distill.methods.hinton_kd import soft_targets_per_image
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Temperature


class ConditionalTeacherStudentConfig(Strict):
    """Conditional teacher-student: learn from the teacher where it is right, from the label where it is wrong.

    Attributes:
        temperature: T of the soft targets; the paper uses 4.
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["conditional_teacher_student"] = "conditional_teacher_student"
    temperature: Temperature = 4.0

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return ConditionalTeacherStudent(self)


class ConditionalTeacherStudent(Method):
    """One mean over the batch of two kinds of terms, chosen per image."""

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` and `label`: the shares of the two branches in the batch's mean, both >= 0."""
        assert teacher is not None
        (student,) = students
        soft, label = conditional_losses(
            student.logits,
            teacher.logits,
            samples.labels,
            samples.label_losses(student.logits),
            temperature=self.config.temperature,
        )
        return {"soft": soft, "label": label}


def conditional_losses(
    student: Tensor, teacher: Tensor, labels: Tensor, label_losses: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """T^2 * KL where argmax(teacher) is the label, plain cross-entropy elsewhere; each summed and divided by the batch.

    The papers leave the mixture open. T^2 is kept on the soft branch and the hard branch has temperature 1, so both
    have gradients of the same size; there is no balancing weight, which is the method's point.

    Args:
        student: logits [B, classes].
        teacher: logits [B, classes], detached.
        labels: int64 [B].
        label_losses: the student's cross-entropy with the labels, [B].
        temperature: T > 0.

    Returns:
        Two scalars >= 0 in nats; their sum is the loss, a mean over the batch.
    """
    right = teacher.argmax(dim=1) == labels
    soft = soft_targets_per_image(student, teacher, temperature=temperature)
    nothing = torch.zeros((), dtype=soft.dtype, device=soft.device)
    return torch.where(right, soft, nothing).mean(), torch.where(right, nothing, label_losses).mean()
