"""scratch: supervised training without a teacher, the baseline of every comparison."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from distill.contract import Strict
from distill.methods.method import Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32


class ScratchConfig(Strict):
    """Supervised training without a teacher: cross-entropy with the labels. No settings."""

    needs: ClassVar[Needs] = Needs(teacher="none")

    kind: Literal["scratch"] = "scratch"

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return Scratch(self)


class Scratch(Method):
    """Cross-entropy with the labels, mean over the batch."""

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`label`: cross-entropy in nats, >= 0."""
        (student,) = students
        return {"label": label_loss(student.logits, samples.labels)}


def label_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy with the labels in nats, >= 0, in float32 (or wider).

    Args:
        logits: [B, classes].
        labels: int64 [B], each a class.
        reduction: `mean` over the batch, or `none` for one value per image, [B].
    """
    return F.cross_entropy(at_least_float32(logits), labels, reduction=reduction)
