"""What the training loop asks of a distillation method."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch: logits float32 [B, classes]."""

    logits: Tensor


class Method(nn.Module):
    """Base of every method: named losses from student and teacher.

    Attributes:
        needs_teacher: the loop refuses a run without a teacher (or with a useless one) by this.
    """

    needs_teacher: ClassVar[bool]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs | None, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar losses, already weighted: the step minimises their sum.

        Args:
            student: with gradient.
            teacher: without gradient; None if and only if `needs_teacher` is False.
            labels: int64 [B].
        """
        raise NotImplementedError
