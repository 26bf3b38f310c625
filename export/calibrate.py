"""Calibration images: training images only, class-balanced, chosen by a seed that the manifest keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets import Split
from export.artifact.manifest import Calibration


@dataclass(frozen=True)
class CalibrationSet:
    """Images to find activation ranges with.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size.
        seed: chose them.
        data_sha256: identity of the training split they come from.
    """

    images: NDArray[np.uint8]
    seed: int
    data_sha256: str

    def record(self, calibrator: str) -> Calibration:
        """What the manifest says of it; `calibrator` is how the exporter used the images."""
        return Calibration(
            calibrator=calibrator, num_images=len(self.images), seed=self.seed, data_sha256=self.data_sha256
        )


def calibration_set(train: Split, count: int, *, seed: int, sha256: str) -> CalibrationSet:
    """At most `count` images of the training split, as evenly over the classes as it allows."""
    return CalibrationSet(np.asarray(train.balanced(count, seed=seed).images), seed, sha256)
