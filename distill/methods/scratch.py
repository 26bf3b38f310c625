"""scratch: supervised training without a teacher, the baseline of every comparison."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Method, Outputs


class ScratchConfig(Strict):
    """Supervised training without a teacher: cross-entropy with the labels. No settings."""

    kind: Literal["scratch"] = "scratch"

    def build(self) -> Method:
        """The module that computes it."""
        return Scratch(self)


class Scratch(Method):
    """Cross-entropy with the labels, mean over the batch."""

    needs_teacher = False

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, labels: Tensor) -> dict[str, Tensor]:
        """`label`: cross-entropy in nats, >= 0."""
        (student,) = students
        return {"label": F.cross_entropy(student.logits, labels)}
