"""The splits of a run, what is odd about them, and what its card says of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from rich.markup import escape

from distill.checkpoint import DataIdentity
from distill.config import RunConfig
from distill.errors import UsageError
from distill.terminal import say
from distill.vision.datasets import Split, SplitName, duplicates
from distill.vision.datasets.image_files import UnreadablePictures


@dataclass(frozen=True)
class Data:
    """The splits at the student's size, with their hashes.

    Attributes:
        test: looked at once, when the run is at its end; None where there is none.
    """

    train: Split
    validation: Split
    train_sha256: str
    validation_sha256: str
    test: Split | None = None
    test_sha256: str | None = None

    def identity(self, config: RunConfig) -> DataIdentity:
        """The card's record of them."""
        of_pixels = self.train.truth is not None
        counts = np.bincount([] if of_pixels else self.train.labels, minlength=len(self.train.class_names))
        return DataIdentity(
            config=config.dataset,
            train_sha256=self.train_sha256,
            validation_sha256=self.validation_sha256,
            num_train=len(self.train),
            num_validation=len(self.validation),
            train_images=() if of_pixels else tuple(counts.tolist()),
            test_sha256=self.test_sha256,
            num_test=0 if self.test is None else len(self.test),
        )


def load_data(config: RunConfig) -> Data:
    """Every split; what was left out and what is in several of them is said.

    Raises:
        UsageError: anything wrong with them; pictures that cannot be decoded are named for all splits at once.
    """
    names: tuple[SplitName, ...] = (
        ("train", "validation", "test") if config.dataset.has_test else ("train", "validation")
    )
    splits = _load_all(config, names)
    for name, split in splits.items():
        _check_labels(name, split)
    train, validation = splits["train"], splits["validation"]
    if min(config.training.batch_size, len(train)) < 2:
        raise UsageError(
            f"a batch of one image cannot be normalised; found {len(train)} training image(s) and "
            f"training.batch_size={config.training.batch_size}. Both must be 2 at least."
        )
    for sentence in _remarks(splits):
        say(f"[yellow]{escape(sentence)}[/]")
    test = splits.get("test")
    test_sha256 = None if test is None else test.sha256()
    return Data(train, validation, train.sha256(), validation.sha256(), test, test_sha256)


def _load_all(config: RunConfig, names: tuple[SplitName, ...]) -> dict[SplitName, Split]:
    splits: dict[SplitName, Split] = {}
    unreadable: list[UnreadablePictures] = []
    for name in names:
        try:
            splits[name] = config.dataset.load(name, config.preprocess)
        except UnreadablePictures as error:
            unreadable.append(error)
    if unreadable:
        raise UnreadablePictures.together(unreadable)
    return splits


def _remarks(splits: Mapping[SplitName, Split]) -> Iterator[str]:
    for split in splits.values():
        yield from split.remarks
    if all(split.names is not None for split in splits.values()):
        yield from (remark.sentence for remark in duplicates.remarks(splits))


def _check_labels(name: str, split: Split) -> None:
    """Losses would pass over a label such as -100, or count it as another class."""
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= len(split.class_names)))
    if len(wrong):
        raise UsageError(
            f"image {wrong[0]} of the {name} split has the label {split.labels[wrong[0]]} ({len(wrong)} such images); "
            f"expected 0 to {len(split.class_names) - 1}, one of {len(split.class_names)} classes. Leave them out."
        )
