"""cross_quality_kd: the teacher sees the full picture, the student a smaller one.

Cross-quality KD paper (Čuk et al. 2023), Eq. 1-2. The loss is vanilla KD; what is new is the second resolution, which
is the run's `image.size_px` (student) against the teacher's own `teacher.image.size_px`.
"""

from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import Method, Outputs


class CrossQualityKDConfig(Strict):
    """KD from a teacher at full resolution to a student at a lower one.

    Attributes:
        temperature: tau of Eq. 1; the paper compares 10 and 20.
        alpha: weight of the soft targets in Eq. 2.
    """

    kind: Literal["cross_quality_kd"] = "cross_quality_kd"
    temperature: Annotated[float, Field(gt=0)] = 10.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5

    def build(self) -> Method:
        """The module that computes it."""
        return CrossQualityKD(self)


class CrossQualityKD(Method):
    """Eq. 2, with the tau^2 that the paper's code has and its formula omits."""

    needs_teacher: ClassVar[bool] = True
    needs_larger_teacher_view: ClassVar[bool] = True

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, labels: Tensor) -> dict[str, Tensor]:
        """`soft` (times tau^2 and alpha) and `label` (times 1 - alpha), both >= 0."""
        assert teacher is not None
        (student,) = students
        alpha, temperature = self.config.alpha, self.config.temperature
        return {
            "soft": alpha * soft_target_loss(student.logits, teacher.logits, temperature=temperature),
            "label": (1 - alpha) * F.cross_entropy(student.logits, labels),
        }
