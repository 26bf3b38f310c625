"""What the training loop asks of a distillation method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

Temperature = Annotated[float, Field(gt=0)]
"""T by which logits are divided before the softmax."""

Balance = Annotated[float, Field(ge=0, le=1)]
"""Weight of the soft targets; the labels have the rest, 1 - alpha."""


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch: logits float32 [B, classes]."""

    logits: Tensor


class Method(nn.Module):
    """Base of every method: named losses from the student (or students) and the teacher.

    Whatever a method trains is its registered child, so it moves, saves and resumes with it.

    Attributes:
        needs_teacher: the loop refuses a run without a teacher (or with a useless one) by this.
        needs_larger_teacher_view: the teacher must see larger images than the student.
    """

    needs_teacher: bool
    needs_larger_teacher_view: bool = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def num_students(self) -> int:
        """How many networks are trained together."""
        return 1

    def start_epoch(self, epoch: int) -> None:
        """Called before each (1-based) epoch, also after a resume."""

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """The method's own parameters for the optimizer; a group may set its own weight_decay."""
        return [{"params": list(self.parameters())}]

    def scalars(self) -> dict[str, float]:
        """What is worth a line in `metrics.jsonl` after an epoch."""
        return {}

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar losses, already weighted: the step minimises their sum.

        Args:
            students: one per trained network, with gradient.
            teacher: without gradient; None if and only if `needs_teacher` is False.
            labels: int64 [B].
        """
        raise NotImplementedError
