"""image-folder: any `<split>/<class>/` tree of pictures, greyscale or colour, of any size, or one `<class>/` tree."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from distill.contract import LATER
from distill.errors import UsageError
from distill.vision.datasets import folder_tree
from distill.vision.datasets.divide import divide
from distill.vision.datasets.image_files import ImageFiles, fits_in_memory
from distill.vision.datasets.patients import PatientTable
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.pictures import HEIF_SUFFIXES, SUFFIXES, Picture, Trait, decode, reads_heif
from distill.vision.preprocess import Preprocess

__all__ = ["SUFFIXES", "ImageFiles", "ImageFolder"]

SHOWN = 5

NEARLY_BLACK = 16
"""Level out of 255 that no pixel of such a picture reaches; 12 bits in a file of 16 reach 15."""

Share = Annotated[float, Field(gt=0, lt=1)]


class ImageFolder(DatasetSettings):
    """Your own pictures: `<split>/<class>/*.jpg`, or `<class>/*.jpg` to be divided.

    Pictures lie at any depth below their class's folder, in any format that `distill.vision.pictures` reads.

    Attributes:
        path: the folder that holds `train/`, `validation/` (or `val/`) and, if there is one, `test/`, each with one
            folder per class. With `split_by` it holds the classes themselves, or `train/` alone.
        channels: 1 = read everything as greyscale, 3 = as RGB.
        patients_csv: optional table with the columns `file` (relative to `path`) and `patient`. Every picture must be
            in it, and no patient may be in two splits.
        max_train_images, max_validation_images: take only so many, class-balanced, chosen by `subset_seed`.
        memory_limit_mib: a split that is larger once decoded and resized, or than half of the memory that is free, is
            streamed from disk instead.
        split_by: `folder`: the splits are folders. `patient`: each patient of one set of pictures goes to one split.
            `picture`: each picture goes to one split; only where no two pictures belong together.
        validation_share: part of the patients (or pictures) that `split_by` puts into validation.
        test_share: part that is taken from the training pictures for a test, by patient where they are known.
        split_seed: decides who goes where.
    """

    kind: Literal["image-folder"] = "image-folder"
    path: str
    channels: Literal[1, 3] = 3
    patients_csv: str | None = None
    max_train_images: Annotated[int, Field(ge=1)] | None = None
    max_validation_images: Annotated[int, Field(ge=1)] | None = None
    subset_seed: Annotated[int, Field(ge=0)] = 0
    memory_limit_mib: Annotated[int, Field(ge=0)] = 4096
    split_by: Annotated[Literal["folder", "patient", "picture"], LATER] = "folder"
    validation_share: Annotated[float, Field(gt=0, lt=1), LATER] = 0.2
    test_share: Annotated[Share | None, LATER] = None
    split_seed: Annotated[int, Field(ge=0), LATER] = 0

    @property
    def has_test(self) -> bool:
        """True if there is a labelled `test/` folder or a share for one."""
        return self.test_share is not None or "test" in self._folders(Path(self.path))[0]

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`; decoded at once if it fits the memory limit, else on demand.

        Raises:
            UsageError: missing folder, less than two classes, an empty one, classes that differ between the splits,
                pictures that cannot be decoded (all of them are named), or a patient table that does not fit.
        """
        root, pictures = Path(self.path), self.find()
        if split not in pictures.parts:
            raise UsageError(f"data set {root} has no labelled test/ folder; --set dataset.test_share=0.2 makes one.")
        part = pictures.parts[split]
        limits = {"train": self.max_train_images, "validation": self.max_validation_images}
        chosen = _balanced_subset(part.labels, pictures.class_names, limits.get(split), self.subset_seed)
        source = ImageFiles(root, tuple(part.files[index] for index in chosen), preprocess)
        dark: tuple[str, ...] = ()
        if not fits_in_memory(int(np.prod(source.shape)), self.memory_limit_mib):
            images, traits = source, source.traits
        else:
            images, traits = source.decode_all_with_traits()
            dark = tuple(_about_dark(split, images, source))
        about_folder = pictures.remarks if split == "train" else ()
        return Split(
            images,
            part.labels[chosen],
            pictures.class_names,
            None if part.owners is None else part.owners[chosen],
            tuple(folder_tree.relative_name(file, root) for file in source.files),
            (*about_folder, *part.about_files(split, root), *_about_traits(split, traits), *dark),
        )

    def decode(self, file: Path, channels: Literal[1, 3], *, at_least_px: int | None = None) -> Picture:
        """One of the pictures, before it is resized; as `distill.vision.pictures.decode`."""
        return decode(file, channels, at_least_px=at_least_px)

    def name(self, file: Path) -> str:
        """Of one of the pictures, for people: its path below `path`."""
        return folder_tree.relative_name(file, Path(self.path))

    def everything(self) -> tuple[Path, ...]:
        """Every picture there is, labelled or not."""
        return folder_tree.list_pictures(Path(self.path)).pictures

    def find(self) -> "Pictures":
        """Which picture belongs to which split, class and patient, without opening any; errors as `load`."""
        root = Path(self.path)
        folders, remarks = self._folders(root)
        class_names = _common_classes(folders)
        table = None if self.patients_csv is None else PatientTable(Path(self.patients_csv))
        parts: dict[SplitName, Part] = {split: _list_part(folder, class_names) for split, folder in folders.items()}
        used = None if table is None else table.path.resolve()
        for part in parts.values():
            part.not_used = tuple(file for file in part.not_used if file.resolve() != used)
        loose = [] if root in folders.values() else folder_tree.loose_files(root)
        if loose := [file.name for file in loose if file.resolve() != used]:
            remarks = (*remarks, f"{_few(loose)}: not used, beside the folders of the splits")
        if table is not None:
            numbers = {name: number for number, name in enumerate(sorted(set(table.patients.values())))}
            for part in parts.values():
                owners = table.owners([folder_tree.relative_name(file, root) for file in part.files])
                part.owners = np.asarray([numbers[owner] for owner in owners], dtype=np.int64)
        shares = self._shares(parts, knows_patients=table is not None)
        if shares:
            whole = parts["train"]
            owners = None if self.split_by == "picture" else whole.owners
            sides = divide(whole.labels, owners, shares, class_names, seed=self.split_seed)
            parts.update((split, whole.only(indices)) for split, indices in sides.items())
        if table is not None and self.split_by != "picture":
            _check_patients(table, parts)
        return Pictures(class_names, parts, (*remarks, *folder_tree.alike(class_names)))

    def _shares(self, parts: Mapping[SplitName, "Part"], *, knows_patients: bool) -> dict[SplitName, float]:
        """Which splits are taken from the training pictures, and how much."""
        if self.split_by == "patient" and not knows_patients:
            raise UsageError(
                "split_by=patient needs the table that says whose pictures they are: --set dataset.patients_csv=FILE "
                "(columns file and patient). Without patients: --set dataset.split_by=picture"
            )
        shares: dict[SplitName, float] = {}
        if self.split_by != "folder":
            shares["validation"] = self.validation_share
        if self.test_share is not None:
            if "test" in parts:
                raise UsageError(f"data set {self.path} has a test folder already; leave dataset.test_share out.")
            shares["test"] = self.test_share
        if sum(shares.values()) >= 1:
            raise UsageError("validation_share and test_share leave nothing to train on; together they are below 1.")
        return shares

    def _folders(self, root: Path) -> tuple[dict[SplitName, Path], tuple[str, ...]]:
        """(The splits' folders, a sentence for each other folder beside them)."""
        if not root.is_dir():
            what = "a file, not a folder; unpack it first" if root.is_file() else "no such folder"
            raise UsageError(f"data set {root}: there is {what}. Set dataset.path to your pictures.")
        folders = folder_tree.split_folders(root)
        if self.split_by != "folder":
            if "validation" in folders:
                raise UsageError(
                    f"data set {root} has a {folders['validation'].name}/ folder, so it is divided already. "
                    "Leave dataset.split_by out, or move that folder away."
                )
            if "train" not in folders:
                return {"train": root}, ()
        for split in ("train", "validation") if self.split_by == "folder" else ():
            if split not in folders:
                raise UsageError(_missing_split(root, split))
        others = [each for each in folder_tree.subfolders(root) if each not in folders.values()]
        remarks = [f"{_few([f'{each.name}/' for each in others])}: not used, no split's name"] if others else []
        if "test" in folders:
            ours, theirs = (set(folder_tree.class_folders(folders[split])) for split in ("train", "test"))
            if ours != theirs:
                what = "it has no class folders" if not theirs else f"its classes are others ({_few(sorted(theirs))})"
                remarks.append(f"{folders.pop('test').name}/: not used, {what}")
        return folders, tuple(remarks)


@dataclass
class Part:
    """The pictures of one split.

    Attributes:
        files: sorted class by class.
        labels: int64 [N].
        not_used: files that are no pictures, or that nothing here can decode.
        owners: int64 [N], the patient of each; None where nothing is known.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    not_used: tuple[Path, ...]
    owners: NDArray[np.int64] | None = None

    def only(self, indices: NDArray[np.int64]) -> "Part":
        """The pictures at these positions."""
        owners = None if self.owners is None else self.owners[indices]
        return Part(tuple(self.files[index] for index in indices), self.labels[indices], self.not_used, owners)

    def about_files(self, split: SplitName, root: Path) -> Iterator[str]:
        """A sentence for each kind of file that is not used."""
        heif = [file for file in self.not_used if file.suffix.lower() in HEIF_SUFFIXES and not reads_heif()]
        if heif:
            names = _few([folder_tree.relative_name(file, root) for file in heif])
            what = "1 HEIF picture is" if len(heif) == 1 else f"{len(heif)} HEIF pictures are"
            yield f"{split}: {what} not used ({names}); to read HEIF: pip install pillow-heif"
        others = [file for file in self.not_used if file not in set(heif)]
        if others:
            names = _few([folder_tree.relative_name(file, root) for file in others])
            what = (
                "1 file is not used, being no picture"
                if len(others) == 1
                else (f"{len(others)} files are not used, being no pictures")
            )
            yield f"{split}: {what} or outside the classes: {names}"


@dataclass(frozen=True)
class Pictures:
    """Everything in an image folder, found but not opened."""

    class_names: tuple[str, ...]
    parts: dict[SplitName, Part]
    remarks: tuple[str, ...]


def _missing_split(root: Path, split: SplitName) -> str:
    names = " or ".join(f"{name}/" for name in folder_tree.SPLIT_FOLDERS[split])
    entries = [entry.name for entry in folder_tree.subfolders(root)]
    entries += [entry.name for entry in folder_tree.loose_files(root)]
    return (
        f"data set {root} has no {names} folder (found: {', '.join(entries[:8]) or 'nothing'}). "
        "Expected <path>/train/<class>/*.jpg and <path>/validation/<class>/*.jpg. "
        "Pictures that are not divided yet: --set dataset.split_by=patient or picture."
    )


def _common_classes(folders: Mapping[SplitName, Path]) -> tuple[str, ...]:
    train = folders["train"]
    classes = {folder: set(folder_tree.class_folders(folder)) for folder in folders.values()}
    names = sorted(classes[train])
    if not names:
        raise UsageError(f"{train} holds no class folders. Expected {train}/<class>/*.jpg or *.png.")
    for other in (folder for folder in folders.values() if folder != train):
        only_train, only_other = classes[train] - classes[other], classes[other] - classes[train]
        if only_train or only_other:
            differences = [f"only in {train.name}: {', '.join(sorted(only_train))}"] * bool(only_train)
            differences += [f"only in {other.name}: {', '.join(sorted(only_other))}"] * bool(only_other)
            nearly = "".join(f" Note: {sentence}." for sentence in folder_tree.alike([*names, *sorted(only_other)]))
            raise UsageError(
                f"the splits of {train.parent} have different classes ({'; '.join(differences)}). "
                f"Each class needs a folder in both.{nearly}"
            )
    if len(names) < 2:
        raise UsageError(
            f"{train} holds one class only ({names[0]}); there is nothing to tell apart. Add a folder for what is not "
            f"{names[0]}."
        )
    return tuple(names)


def _list_part(folder: Path, class_names: Sequence[str]) -> Part:
    files: list[Path] = []
    labels: list[int] = []
    not_used = folder_tree.loose_files(folder)
    places = folder_tree.class_folders(folder)
    for label, name in enumerate(class_names):
        listings = [folder_tree.list_pictures(place) for place in places[name]]
        pictures = [file for listing in listings for file in listing.pictures]
        others = [file for listing in listings for file in listing.not_used]
        if not pictures:
            holds = f"only {_few([file.name for file in others])}" if others else "no picture"
            raise UsageError(f"class {name!r} has no pictures: {folder / name} holds {holds}.")
        files += pictures
        not_used += others
        labels += [label] * len(pictures)
    return Part(tuple(files), np.asarray(labels, dtype=np.int64), tuple(not_used))


def _check_patients(table: PatientTable, parts: Mapping[SplitName, Part]) -> None:
    names = sorted(set(table.patients.values()))
    for first, second in combinations(parts, 2):
        ours, theirs = parts[first].owners, parts[second].owners
        shared = [] if ours is None or theirs is None else np.intersect1d(ours, theirs).tolist()
        if shared:
            few = ", ".join(names[number] for number in shared[:SHOWN])
            raise UsageError(
                f"{table.path}: {len(shared)} patient(s) are in both {first} and {second} ({few}…), "
                f"so the {second} figures would be too good. Move each patient's pictures to one side."
            )


def _balanced_subset(
    labels: NDArray[np.int64], class_names: Sequence[str], limit: int | None, seed: int
) -> NDArray[np.int64]:
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    if limit < len(class_names):
        raise UsageError(
            f"{limit} image(s) cannot show {len(class_names)} classes. Raise dataset.max_train_images or "
            f"dataset.max_validation_images to {len(class_names)} at least."
        )
    rng = np.random.default_rng(seed)
    classes = len(class_names)
    shares = [limit // classes + (label < limit % classes) for label in range(classes)]
    picked = [rng.permutation(np.flatnonzero(labels == label))[:share] for label, share in enumerate(shares)]
    return np.sort(np.concatenate(picked))


ABOUT_TRAITS = {
    Trait.ON_WHITE: "are transparent in places and are laid on white",
    Trait.FIRST_FRAME: "have several frames or pages; the first is used",
    Trait.REDUCED: "have more than 16 million pixels and are read at a fraction",
}
"""What is worth a sentence. That pictures are turned upright, scaled to 8 bits or brought to sRGB is not."""


def _about_traits(split: SplitName, traits: NDArray[np.uint8]) -> Iterator[str]:
    for trait, what in ABOUT_TRAITS.items():
        count = np.count_nonzero(traits & trait)
        if count:
            yield f"{split}: {count} of {len(traits)} pictures {what}"


def _about_dark(split: SplitName, images: NDArray[np.uint8], source: ImageFiles) -> Iterator[str]:
    dark = np.flatnonzero([image.max() < NEARLY_BLACK for image in images])
    if len(dark):
        names = _few([folder_tree.relative_name(source.files[index], source.root) for index in dark])
        yield (
            f"{split}: {len(dark)} of {len(images)} pictures are nearly black, as in a viewer ({names}); were 10 or 12 "
            "bits saved as 16?"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
