"""cifar10 and cifar100 in torchvision's own format, when the user has them on disk; nothing is downloaded."""

from pathlib import Path
from typing import Literal

import numpy as np

from distill.errors import UsageError
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.preprocess import Preprocess

STORED_PX = 32


class Cifar10(DatasetSettings):
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test pictures; the test set serves as validation.

    Attributes:
        path: the folder that holds `cifar-10-batches-py/`.
    """

    kind: Literal["cifar10"] = "cifar10"
    path: str

    @property
    def channels(self) -> Literal[3]:
        """Colour."""
        return 3

    @property
    def stored_px(self) -> int:
        """As in the archive."""
        return STORED_PX

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`; raises UsageError if the files are missing or damaged."""
        from torchvision.datasets import CIFAR10

        return _load(CIFAR10, self.path, split, preprocess)


class Cifar100(DatasetSettings):
    """CIFAR-100 (Krizhevsky 2009), fine labels; the test set serves as validation.

    Attributes:
        path: the folder that holds `cifar-100-python/`.
    """

    kind: Literal["cifar100"] = "cifar100"
    path: str

    @property
    def channels(self) -> Literal[3]:
        """Colour."""
        return 3

    @property
    def stored_px(self) -> int:
        """As in the archive."""
        return STORED_PX

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`; raises UsageError if the files are missing or damaged."""
        from torchvision.datasets import CIFAR100

        return _load(CIFAR100, self.path, split, preprocess)


def _load(dataset_class: type, path: str, split: SplitName, preprocess: Preprocess) -> Split:
    try:
        dataset = dataset_class(path, train=split == "train", download=False)
    except (RuntimeError, OSError, EOFError) as error:
        expected = Path(path) / dataset_class.base_folder
        raise UsageError(
            f"no usable {dataset_class.__name__} at {expected} ({error}). "
            "Unpack the python version of the archive there, or use kind image-folder."
        ) from error
    images = preprocess.resize_batch(dataset.data)
    return Split(images, np.asarray(dataset.targets, dtype=np.int64), tuple(dataset.classes))
