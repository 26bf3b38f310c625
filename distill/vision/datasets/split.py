"""Split: what every data set gives, whatever it was made from."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from distill.contract import Strict
from distill.vision.tasks import TaskName

SplitName = Literal["train", "validation", "test"]


class DatasetSettings(Strict):
    """Base of every data set's settings."""

    @property
    def has_test(self) -> bool:
        """True if `load("test")` gives pictures that take no part in training and in the choice of the best epoch."""
        return False

    @property
    def task(self) -> TaskName:
        """What a network is to answer about the pictures."""
        return "classification"

    @property
    def stored_px(self) -> int | None:
        """Side of its pictures before they are resized, where all are squares of one size; None for files."""
        return None


class ImageSource(Protocol):
    """Images that may be too many for memory. A NumPy array [N, H, W, C] of uint8 is one; so is `ImageFiles`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """The images at these positions, decoded: uint8 [len(indices), H, W, C]."""
        ...


class TruthSource(Protocol):
    """What is true of every pixel of images. A NumPy array [N, H, W] is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""
        ...

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8] | NDArray[np.float32]:
        """That of the images at these positions: [len(indices), H, W]."""
        ...


@dataclass(frozen=True)
class Split:
    """One part (train, validation or test) of a data set.

    Attributes:
        images: uint8 [N, H, W, C]; C is 1 (greyscale stays one channel) or 3 (RGB).
        labels: int64 [N], index into `class_names`; all 0 where the truth is one of every pixel.
        class_names: one per class, in label order; the same in every split of a data set. Of depth its one output.
        groups: int64 [N], images of the same patient (or video, or site) share a number; None where nothing is known.
        names: of the images' files, relative to the data set; None where there are no files.
        remarks: what a person should know about how the images were read, a sentence each.
        clips: int64 [N], frames of the same recording share a number; None where images are no frames.
        task: what a network is to answer.
        truth: of every pixel, where a task asks for it: classes uint8 [N, H, W], 255 where they are not known; or
            metres float32 [N, H, W], 0 where they are not known.
    """

    images: ImageSource
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    clips: NDArray[np.int64] | None = None
    task: TaskName = "classification"
    truth: TruthSource | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_memory(self) -> bool:
        """True if every image is already decoded in one array."""
        return isinstance(self.images, np.ndarray)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The images at these positions, in this order, decoded."""
        groups = None if self.groups is None else self.groups[indices]
        names = None if self.names is None else tuple(self.names[index] for index in indices)
        clips = None if self.clips is None else self.clips[indices]
        truth = None if self.truth is None else self.truth[indices]
        return Split(
            self.images[indices],
            self.labels[indices],
            self.class_names,
            groups,
            names,
            clips=clips,
            task=self.task,
            truth=truth,
        )

    def divided(self, share: float, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of two parts, the first with this share of the patients (of the images, where none are known).

        No patient is in both. Chosen by `seed`; in ascending order.
        """
        groups = self.groups if self.groups is not None else np.arange(len(self))
        names = np.random.default_rng(seed).permutation(np.unique(groups))
        in_first = np.isin(groups, names[: int(share * len(names))])
        return np.flatnonzero(in_first), np.flatnonzero(~in_first)

    def balanced(self, count: int, *, seed: int) -> "Split":
        """At most `count` images, as evenly over the classes as the split allows, chosen and ordered by `seed`."""
        rng = np.random.default_rng(seed)
        queues = [rng.permutation(np.flatnonzero(self.labels == label)) for label in range(len(self.class_names))]
        rounds = max((len(queue) for queue in queues), default=0)
        order = [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
        return self.take(np.asarray(order[:count], dtype=np.int64))

    def sha256(self) -> str:
        """Identity of the data: hash over images, labels, class names and truth. Streams; does not load everything."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        identity = getattr(self.images, "identity", None)
        if callable(identity):
            digest.update(str(identity()).encode())
        else:
            for start in range(0, len(self), 1024):
                chunk = self.images[np.arange(start, min(start + 1024, len(self)))]
                digest.update(np.ascontiguousarray(chunk).tobytes())
        if self.truth is not None:
            digest.update(self.task.encode())
            for start in range(0, len(self), 1024):
                digest.update(self.truth[np.arange(start, min(start + 1024, len(self)))].tobytes())
        return digest.hexdigest()
