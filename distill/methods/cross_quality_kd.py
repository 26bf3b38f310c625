"""cross_quality_kd: the teacher sees the full picture, the student a smaller one.

Cross-quality KD paper (Čuk et al. 2023), Eq. 1-2. The loss is vanilla KD; what is new is the second resolution, which
is the run's `image.size_px` (student) against the teacher's own `teacher.image.size_px`.
"""

from typing import ClassVar, Literal

from distill.contract import Strict
from distill.methods.hinton_kd import HintonKD
from distill.methods.method import Balance, Family, Method, Needs, Setting, Temperature


class CrossQualityKDConfig(Strict):
    """KD from a teacher at full resolution to a student at a lower one.

    Attributes:
        temperature: tau of Eq. 1; the paper compares 10 and 20.
        alpha: weight of the soft targets in Eq. 2.
    """

    needs: ClassVar[Needs] = Needs(larger_teacher_view=True)
    family: ClassVar[Family] = "soft targets"

    kind: Literal["cross_quality_kd"] = "cross_quality_kd"
    temperature: Temperature = 10.0
    alpha: Balance = 0.5

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return CrossQualityKD(self)


class CrossQualityKD(HintonKD):
    """Eq. 2, with the tau^2 that the paper's code has and its formula omits: vanilla KD's loss on two resolutions."""
