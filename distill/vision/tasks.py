"""Tasks: what a network answers, and what its answers are judged by. `TASKS` is the one table, a line per task.

A task is a fact of the data set; card and manifest carry its name. This module needs no heavy package.
"""

from collections.abc import Iterable
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
        adjective: of a network with much of it, e.g. accurate; empty where there is no such word.
        short: for heads of narrow columns; empty for the title.
        several: the word for more than one of it; empty where there is none.
        of_pictures: whether it counts pictures, so that so many of so many are right.
    """

    name: str
    title: str
    unit: Literal["%", "m"]
    higher_is_better: bool = True
    adjective: str = ""
    short: str = ""
    several: str = ""
    of_pictures: bool = False

    @property
    def words(self) -> dict[str, str]:
        """How it is spoken of, for sentences and pages of any task."""
        word, title = self.adjective, self.title
        return {
            "title": title,
            "heading": title.capitalize() if title.isalpha() and title.islower() else title,
            "short": self.short or title,
            "most": f"most {word}" if word else f"best by {title}",
            "less": f"less {word}" if word else f"less {title}",
            "more": f"more {word}" if word else f"more {title}",
            "alike": f"as {word}" if word else f"equal in {title}",
            "answers": "Right answers" if self.of_pictures else title,
            "mark": "right" if self.of_pictures else title,
            "behind": "of" if self.of_pictures else "on",
            "several": self.several or f"values of {title}",
        }

    def on_images(self, value: float, images: str) -> str:
        """A share in [0, 1] with what stands behind it, e.g. "91.2 % of 200 images right"; `images` is the latter."""
        percent = f"{100 * value:.1f} %"
        return f"{percent} of {images} right" if self.of_pictures else f"{self.title} {percent} on {images}"

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
    share: Measure
    num_outputs: int | None = None

    def output_shape(self, num_outputs: int, size_px: int) -> tuple[int, ...]:
        """Of one picture's answer, without the batch."""
        return (num_outputs, size_px, size_px) if self.is_dense else (num_outputs,)


ACCURACY = Measure(
    "accuracy", "accuracy", "%", adjective="accurate", short="acc.", several="accuracies", of_pictures=True
)
MACRO_F1 = Measure("macro_f1", "macro F1", "%")
"""What may judge classifiers in place of the accuracy."""
MIOU = Measure("miou", "mIoU", "%")
RMSE = Measure("rmse_m", "RMSE", "m", higher_is_better=False)
DELTA1 = Measure("delta1", "δ < 1.25", "%")
QUALITY = Measure("quality", "quality", "%")
"""Of networks for several tasks side by side: of each the share of its own task."""

TASKS: dict[TaskName, Task] = {
    task.name: task
    for task in (
        Task("classification", False, "logits [2, classes]", ACCURACY, ACCURACY),
        Task("segmentation", True, "logits [2, classes, height, width]", MIOU, MIOU),
        Task("depth", True, "metres [2, 1, height, width]", RMSE, DELTA1, 1),
    )
}
"""Name -> task."""


def share_among(tasks: Iterable[TaskName]) -> Measure:
    """What networks of these tasks are compared by: the task's share; `QUALITY` if they are of several."""
    found = {TASKS[task].share for task in tasks}
    return found.pop() if len(found) == 1 else QUALITY
