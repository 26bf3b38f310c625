"""held-back: a part of another data set's training images stands in for its validation images, which are never read.

What is chosen by looking, such as a learning rate, is chosen on these, so that the validation images still tell the
truth afterwards.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from distill.vision.datasets.divide import divide
from distill.vision.datasets.duplicates import Fingerprints
from distill.vision.datasets.image_files import ImageFiles
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TaskName

if TYPE_CHECKING:
    from distill.vision.datasets import DatasetConfig


class HeldBack(DatasetSettings):
    """The training images of another data set, of which some are held back as validation images.

    No patient (or clip, where only those are known) is on both sides, and every class is on each.

    Attributes:
        of: the other data set.
        share: part of its training images that is held back.
        seed: of the division.
    """

    kind: Literal["held-back"] = "held-back"
    of: "DatasetConfig"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def channels(self) -> Literal[1, 3]:
        """The other data set's."""
        return self.of.channels

    @property
    def task(self) -> TaskName:
        """The other data set's."""
        return self.of.task

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """One side of the training split; raises UsageError if a class has too few patients (or images) for both."""
        whole = self.of.load("train", preprocess)
        owners = whole.clips if whole.groups is None else whole.groups
        sides = divide(whole.labels, owners, {"validation": self.share}, whole.class_names, seed=self.seed)
        part = _part(whole, sides[split])
        return part if split == "train" else replace(part, remarks=())  # said once


def _part(whole: Split, positions: NDArray[np.int64]) -> Split:
    """Of a split what is at these positions; pictures that lie in files stay there."""

    def of(values: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        return None if values is None else values[positions]

    return Split(
        images=Chosen(whole.images, positions) if isinstance(whole.images, ImageFiles) else whole.images[positions],
        labels=whole.labels[positions],
        class_names=whole.class_names,
        groups=of(whole.groups),
        task=whole.task,
        truth=None if whole.truth is None else whole.truth[positions],
        names=None if whole.names is None else tuple(whole.names[position] for position in positions),
        remarks=whole.remarks,
        clips=of(whole.clips),
    )


@dataclass(frozen=True)
class Chosen:
    """Some pictures of a source of files, as one."""

    images: ImageFiles
    positions: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return (len(self.positions), *self.images.shape[1:])

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images[self.positions[indices]]

    def identity(self) -> str:
        """Hash over their pixels."""
        return hashlib.sha256(self.fingerprints().digests.tobytes()).hexdigest()

    def fingerprints(self) -> Fingerprints:
        """What each picture is recognised by."""
        whole = self.images.fingerprints()
        at = self.positions
        return Fingerprints(whole.digests[at], whole.looks[at], whole.flat[at])
