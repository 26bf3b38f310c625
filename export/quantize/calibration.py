"""Calibration images: the checkpoint's own training images, or a folder of the user's; chosen by a seed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.vision.datasets import Split, folder_tree
from distill.vision.datasets.image_files import ImageFiles
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import Calibration


@dataclass(frozen=True)
class CalibrationSet:
    """Images to find activation ranges with.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size.
        seed: chose them.
        data_sha256: identity of the training split or of the folder they come from.
        source: which of the two.
    """

    images: NDArray[np.uint8]
    seed: int
    data_sha256: str
    source: Literal["training", "folder"]

    def record(self, calibrator: str) -> Calibration:
        """What the manifest says of it; `calibrator` is how the exporter used the images."""
        return Calibration(
            source=self.source,
            calibrator=calibrator,
            num_images=len(self.images),
            seed=self.seed,
            data_sha256=self.data_sha256,
        )


def from_training(train: Split, count: int, *, seed: int, sha256: str) -> CalibrationSet:
    """At most `count` images of the training split, as evenly over the classes as it allows."""
    return CalibrationSet(np.asarray(train.balanced(count, seed=seed).images), seed, sha256, "training")


@dataclass(frozen=True)
class PictureFolder:
    """A user's own pictures, at any depth and without labels.

    Attributes:
        root: the folder.
        files: every picture in it, sorted by path.
        sha256: identity: names and contents of all of them.
    """

    root: Path
    files: tuple[Path, ...]
    sha256: str

    @classmethod
    def find(cls, root: Path) -> "PictureFolder":
        """Look for pictures at and below `root`.

        Raises:
            UsageError: no such folder, or no picture in it.
        """
        if not root.is_dir():
            raise UsageError(f"--calibration-folder {root}: there is no such folder.")
        files = folder_tree.list_pictures(root).pictures
        if not files:
            raise UsageError(
                f"--calibration-folder {root} holds no picture. Put pictures like those the model will see "
                "into it; 100 to 500 are enough."
            )
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(root).as_posix()}\0{sha256_of_file(file)}\n".encode())
        return cls(root, files, digest.hexdigest())

    def split(self, count: int, *, seed: int, judge_too: bool) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """(at most `count` pictures to calibrate with, the others), shuffled by `seed`.

        Args:
            count: how many are wanted.
            seed: of the order.
            judge_too: the others are needed to judge the model on: keep at least half of a small folder for that.
        """
        order = np.random.default_rng(seed).permutation(len(self.files))
        taken = min(count, max(1, len(self.files) // 2)) if judge_too else count
        shuffled = [self.files[index] for index in order]
        return tuple(shuffled[:taken]), tuple(shuffled[taken:])

    def decode(self, files: tuple[Path, ...], preprocess: Preprocess) -> NDArray[np.uint8]:
        """Pictures as the network sees them, uint8 [N, H, W, C]; raises UsageError for one that is damaged."""
        return ImageFiles(self.root, files, preprocess).decode_all()
