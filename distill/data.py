"""The two splits of a run, and what its card says of them."""

from dataclasses import dataclass

import numpy as np

from distill.checkpoint import DataIdentity
from distill.config import RunConfig
from distill.errors import UsageError
from distill.vision.datasets import Split


@dataclass(frozen=True)
class Data:
    """Both splits at the student's size, with their hashes."""

    train: Split
    validation: Split
    train_sha256: str
    validation_sha256: str

    def identity(self, config: RunConfig) -> DataIdentity:
        """The card's record of them."""
        return DataIdentity(
            config=config.dataset,
            train_sha256=self.train_sha256,
            validation_sha256=self.validation_sha256,
            num_train=len(self.train),
            num_validation=len(self.validation),
        )


def load_data(config: RunConfig) -> Data:
    """Both splits; raises UsageError if anything is wrong with them."""
    train = config.dataset.load("train", config.preprocess)
    validation = config.dataset.load("validation", config.preprocess)
    for name, split in (("train", train), ("validation", validation)):
        _check_labels(name, split)
    return Data(train, validation, train.sha256(), validation.sha256())


def _check_labels(name: str, split: Split) -> None:
    """Losses would pass over a label such as -100, or count it as another class."""
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= len(split.class_names)))
    if len(wrong):
        raise UsageError(
            f"image {wrong[0]} of the {name} split has the label {split.labels[wrong[0]]} ({len(wrong)} such images); "
            f"expected 0 to {len(split.class_names) - 1}, one of {len(split.class_names)} classes. Leave them out."
        )
