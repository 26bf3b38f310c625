"""Tasks: what a network answers, and what its answers are judged by. `TASKS` is the one table, a line per task.

A task is a fact of the data set; card and manifest carry its name. This module needs no heavy package.
"""

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["classification", "segmentation", "depth"]

IGNORED = 255
"""Of a mask: a pixel whose class is not known; it has no part in losses and measures."""

UNKNOWN_DEPTH = 0.0
"""Of a depth map: a pixel whose depth is not known; it has no part in losses and measures."""

DEPTH_CLASSES = ("depth_m",)
"""The one output of a depth network, in metres, in place of class names."""


UNKNOWN: dict[TaskName, float] = {"classification": 0, "segmentation": IGNORED, "depth": UNKNOWN_DEPTH}
"""What stands where nothing is known of a pixel."""


@dataclass(frozen=True)
class Measure:
    """What a network is judged by.

    Attributes:
        name: of the field in the card's metrics.
        title: for people.
        unit: `%` of a share in [0, 1], or `m` of metres.
        higher_is_better: False for an error.
    """

    name: str
    title: str
    unit: Literal["%", "m"]
    higher_is_better: bool = True

    def score(self, value: float) -> float:
        """A number that is the larger the better."""
        return value if self.higher_is_better else -value

    def kept(self, value: float, reference: float) -> float:
        """Quality as a share of a reference's: 1 is as good, below 1 is worse, whichever direction is better.

        A reference that is never right (or an error of 0) leaves nothing to lose.
        """
        ours, theirs = (value, reference) if self.higher_is_better else (reference, value)
        return ours / theirs if theirs else 1.0

    def shown(self, value: float) -> str:
        """With its unit."""
        return f"{100 * value:.2f} %" if self.unit == "%" else f"{value:.3f} m"


@dataclass(frozen=True)
class Task:
    """What a network answers.

    Attributes:
        name: as cards have it.
        is_dense: one answer for every pixel, [B, C, H, W] of the input's size; else one for the picture, [B, C].
        answer: what that is, in words.
        num_outputs: of the network; None for one of each class.
        measure: decides which epoch is best, and what an artifact must keep.
    """

    name: TaskName
    is_dense: bool
    answer: str
    measure: Measure
    num_outputs: int | None = None

    def output_shape(self, num_outputs: int, size_px: int) -> tuple[int, ...]:
        """Of one picture's answer, without the batch."""
        return (num_outputs, size_px, size_px) if self.is_dense else (num_outputs,)


TASKS: dict[TaskName, Task] = {
    task.name: task
    for task in (
        Task("classification", False, "logits [2, classes]", Measure("accuracy", "accuracy", "%")),
        Task("segmentation", True, "logits [2, classes, height, width]", Measure("miou", "mIoU", "%")),
        Task("depth", True, "metres [2, 1, height, width]", Measure("rmse_m", "RMSE", "m", higher_is_better=False), 1),
    )
}
"""Name -> task."""
