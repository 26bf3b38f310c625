"""Look at every picture of a folder once, quickly: what it is, whether it can be decoded, what it is like."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill.errors import UsageError
from distill.terminal import progress
from distill.vision.datasets import Split, duplicates, folder_tree
from distill.vision.datasets.dicom import Dicom, Frame
from distill.vision.datasets.duplicates import Fingerprints, fingerprints
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.datasets.split import SplitName
from distill.vision.pictures import Trait, Unreadable

LOOK_PX = 64
"""Pictures are compared at this size, stretched to a square."""

THUMBNAIL_PX = 128
"""Longer side of a thumbnail."""

SHARE_OF_GREY = 3
"""A picture whose channels differ by no more than these levels anywhere is grey."""


PictureFolder = ImageFolder | Dicom
"""Data sets of files."""

Place = Path | Frame
"""Where the pictures of one lie."""


@dataclass(frozen=True)
class Seen:
    """One picture.

    Attributes:
        file: where it lies.
        name: its path relative to the data set, readable.
        split, label: where it belongs; `label` counts in the survey's class names.
        width_px, height_px: as stored.
        format: as Pillow names it.
        size_bytes: of the file.
        traits: what was done so that it looks as in a viewer.
        is_grey: True if its channels are alike.
        level: mean brightness, 0 to 255.
        prints: what it is recognised by, N = 1.
    """

    file: Place
    name: str
    split: SplitName
    label: int
    width_px: int
    height_px: int
    format: str
    size_bytes: int
    traits: Trait
    is_grey: bool
    level: float
    prints: Fingerprints


@dataclass(frozen=True)
class Survey:
    """Everything that was seen.

    Attributes:
        config: the data set.
        root: its folder.
        class_names: in label order.
        pictures: those that can be decoded, split by split and class by class.
        unreadable: the others, each with its reason.
        problem: why nothing can be trained on this folder as it is; None if something can.
        remarks: sentences about what was left out.
        repeats: what is in several places.
        patients: of each split, how many there are; empty where nothing is known.
    """

    config: PictureFolder
    root: Path
    class_names: tuple[str, ...]
    pictures: tuple[Seen, ...]
    unreadable: tuple[Unreadable, ...]
    problem: str | None
    remarks: tuple[str, ...]
    repeats: tuple[duplicates.Remark, ...]
    patients: dict[SplitName, int] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """Those that have pictures."""
        return tuple(dict.fromkeys(picture.split for picture in self.pictures))

    def count(self, split: SplitName, label: int) -> int:
        """Pictures of a class in a split."""
        return sum(picture.split == split and picture.label == label for picture in self.pictures)


@dataclass(frozen=True)
class _Place:
    """Where a picture belongs."""

    file: Place
    split: SplitName
    label: int


def look_at(config: PictureFolder) -> Survey:
    """Decode every picture of a folder by as many threads as there are cores; JPEGs at a fraction.

    Raises:
        UsageError: no such folder, or no picture in it.
    """
    root = Path(config.path)
    problem, patients = None, dict[SplitName, int]()
    try:
        listing = config.find()
        class_names, remarks = listing.class_names, [*listing.remarks]
        places = [
            _Place(file, split, int(label))
            for split, part in listing.parts.items()
            for file, label in zip(part.files, part.labels, strict=True)
        ]
        for split, part in listing.parts.items():
            remarks += part.about_files(split, root)
            if part.owners is not None:
                patients[split] = len(np.unique(part.owners))
    except UsageError as error:
        problem, remarks = str(error), []
        class_names, places = _whatever_is_there(config)
    if not places:
        raise UsageError(problem or f"there are no pictures in {root}.")
    pictures, unreadable = _decode_all(places, config)
    repeats = tuple(duplicates.remarks(_as_splits(pictures, class_names)))
    return Survey(
        config, root, class_names, tuple(pictures), tuple(unreadable), problem, tuple(remarks), repeats, patients
    )


def _whatever_is_there(config: PictureFolder) -> tuple[tuple[str, ...], list[_Place]]:
    """Every picture of a folder, its class the folder that it lies in, where no split can be made out."""
    files = config.everything() if Path(config.path).is_dir() else ()
    classes = [folder_tree.readable_name(_path(file).parent.name) for file in files]
    names = tuple(sorted(set(classes)))
    return names, [_Place(file, "train", names.index(name)) for file, name in zip(files, classes, strict=True)]


def _path(file: Place) -> Path:
    return file.file if isinstance(file, Frame) else file


def _decode_all(places: Sequence[_Place], config: PictureFolder) -> tuple[list[Seen], list[Unreadable]]:
    def see(place: _Place) -> Seen | Unreadable:
        try:
            return _see(place, config)
        except Unreadable as error:
            return error

    pictures: list[Seen] = []
    unreadable: dict[Path, Unreadable] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress() as display:
        task = display.add_task("looking at pictures", total=len(places), note="")
        for result in pool.map(see, places):
            if isinstance(result, Unreadable):
                unreadable[result.file] = result
            else:
                pictures.append(result)
            display.advance(task)
    return pictures, list(unreadable.values())


def _see(place: _Place, config: PictureFolder) -> Seen:
    picture = config.decode(place.file, 3, at_least_px=THUMBNAIL_PX)  # pyright: ignore[reportArgumentType]
    image = picture.image
    look = np.asarray(image.resize((LOOK_PX, LOOK_PX), Image.Resampling.BILINEAR, reducing_gap=2.0))
    spread = look.max(axis=2).astype(int) - look.min(axis=2)
    return Seen(
        place.file,
        config.name(place.file),  # pyright: ignore[reportArgumentType]
        place.split,
        place.label,
        picture.width_px,
        picture.height_px,
        picture.format,
        place.file.stat().st_size,
        picture.traits,
        bool(spread.max() <= SHARE_OF_GREY),
        float(look.mean()),
        fingerprints(look[None]),
    )


@dataclass(frozen=True)
class _Looks:
    """An `ImageSource` that knows its fingerprints and nothing else."""

    pictures: Sequence[Seen]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.pictures), LOOK_PX, LOOK_PX, 3)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise NotImplementedError("looks are not kept")

    def fingerprints(self) -> Fingerprints:
        prints = [picture.prints for picture in self.pictures]
        return Fingerprints(
            np.concatenate([each.digests for each in prints]),
            np.concatenate([each.looks for each in prints]),
            np.concatenate([each.flat for each in prints]),
        )


def _as_splits(pictures: Sequence[Seen], class_names: tuple[str, ...]) -> dict[SplitName, Split]:
    own: dict[SplitName, list[Seen]] = {}
    for picture in pictures:
        own.setdefault(picture.split, []).append(picture)
    return {
        name: Split(
            _Looks(seen),
            np.asarray([picture.label for picture in seen], dtype=np.int64),
            class_names,
            names=tuple(picture.name for picture in seen),
        )
        for name, seen in own.items()
    }


def contact_sheet(survey: Survey, *, most: int = 480) -> Iterator[tuple[str, list[Seen]]]:
    """(Class name, some of its pictures, chosen by a seed): every class alike, `most` in all."""
    each = max(3, min(24, most // max(len(survey.class_names), 1)))
    rng = np.random.default_rng(0)
    for label, name in enumerate(survey.class_names):
        own = [picture for picture in survey.pictures if picture.label == label]
        chosen = sorted(rng.permutation(len(own))[:each].tolist())
        yield name, [own[index] for index in chosen]
