"""scratch: supervised training without a teacher, the baseline of every comparison."""

from typing import ClassVar, Literal

from torch import Tensor

from distill.contract import Strict
from distill.methods.method import ALL_TASKS, Family, Method, Needs, Outputs, Samples, Setting


class ScratchConfig(Strict):
    """Supervised training without a teacher: cross-entropy with the labels. No settings."""

    needs: ClassVar[Needs] = Needs(teacher="none", tasks=ALL_TASKS)
    family: ClassVar[Family] = "labels"

    kind: Literal["scratch"] = "scratch"

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return Scratch(self)


class Scratch(Method):
    """Cross-entropy with the labels, mean over the batch."""

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`label`: cross-entropy in nats, >= 0."""
        (student,) = students
        return {"label": samples.label_loss(student.logits)}
