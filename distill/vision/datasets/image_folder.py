"""image-folder: any `<split>/<class>/*` tree of JPEG or PNG pictures, greyscale or colour, of any size."""

import csv
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from distill.contract import Strict
from distill.errors import UsageError
from distill.system import usable_cores
from distill.terminal import progress
from distill.vision.datasets.split import Split, SplitName
from distill.vision.preprocess import Preprocess

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
PROGRESS_FROM_IMAGES = 2_000


class ImageFolder(Strict):
    """Your own pictures: `<split>/<class>/*.jpg` or `.png`.

    Attributes:
        path: the folder that holds `train/` and `validation/` (or `val/`), each with one folder per class.
        channels: 1 = read everything as greyscale, 3 = as RGB.
        patients_csv: optional table with the columns `file` (relative to `path`) and `patient`. Every picture must be
            in it, and no patient may be in both splits.
        max_train_images, max_validation_images: take only so many, class-balanced, chosen by `subset_seed`.
        memory_limit_mib: a split that is larger once decoded and resized is streamed from disk instead.
    """

    kind: Literal["image-folder"] = "image-folder"
    path: str
    channels: Literal[1, 3] = 3
    patients_csv: str | None = None
    max_train_images: Annotated[int, Field(ge=1)] | None = None
    max_validation_images: Annotated[int, Field(ge=1)] | None = None
    subset_seed: int = 0
    memory_limit_mib: Annotated[int, Field(ge=0)] = 4096

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`; decoded at once if it fits the memory limit, else on demand.

        Raises:
            UsageError: missing folder, no or empty classes, classes that differ between the splits, a picture that
                cannot be decoded, or a patient table that does not fit the pictures.
        """
        root = Path(self.path)
        folders = {name: _split_folder(root, name) for name in ("train", "validation")}
        class_names = _common_classes(folders["train"], folders["validation"])
        files, labels = _list_pictures(folders[split], class_names)
        groups = self._groups(root, folders, class_names, files)
        limit = self.max_train_images if split == "train" else self.max_validation_images
        chosen = _balanced_subset(labels, len(class_names), limit, self.subset_seed)
        source = ImageFiles(root, tuple(files[index] for index in chosen), preprocess)
        found = Split(source, labels[chosen], class_names, None if groups is None else groups[chosen])
        if np.prod(source.shape) > self.memory_limit_mib * 2**20:
            source.verify()
            return found
        return Split(source.decode_all(), found.labels, class_names, found.groups)

    def _groups(
        self, root: Path, folders: dict[str, Path], class_names: Sequence[str], files: Sequence[Path]
    ) -> NDArray[np.int64] | None:
        if self.patients_csv is None:
            return None
        table_path = Path(self.patients_csv)
        patients = _read_patients(table_path)
        in_split = {name: _list_pictures(folder, class_names)[0] for name, folder in folders.items()}
        owners = {name: _owners(root, found, patients, table_path) for name, found in in_split.items()}
        shared = sorted(set(owners["train"]) & set(owners["validation"]))
        if shared:
            raise UsageError(
                f"{table_path}: {len(shared)} patient(s) are in both train and validation ({', '.join(shared[:5])}…), "
                "so the validation figures would be too good. Move each patient's pictures to one side."
            )
        numbers = {name: number for number, name in enumerate(sorted(set(patients.values())))}
        return np.asarray([numbers[owner] for owner in _owners(root, files, patients, table_path)], dtype=np.int64)


@dataclass(frozen=True)
class ImageFiles:
    """Pictures on disk as an `ImageSource`: decoded and resized when they are asked for."""

    root: Path
    files: tuple[Path, ...]
    preprocess: Preprocess

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C) as decoded."""
        size = self.preprocess.size_px
        return (len(self.files), size, size, self.preprocess.channels)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([self._decode(self.files[index]) for index in indices])

    def identity(self) -> str:
        """Hash over names and sizes: reading every byte of a large set would take as long as an epoch."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.relative_to(self.root).as_posix()}:{file.stat().st_size}\n".encode())
        return digest.hexdigest()

    def decode_all(self) -> NDArray[np.uint8]:
        """Every picture, decoded by as many threads as there are cores."""
        images = np.empty(self.shape, dtype=np.uint8)

        def decode_into(index: int) -> None:
            images[index] = self._decode(self.files[index])

        self._for_all(decode_into, "decoding pictures")
        return images

    def verify(self) -> None:
        """Open every picture once; raises UsageError for those that cannot be decoded."""

        def open_one(index: int) -> None:
            try:
                with Image.open(self.files[index]) as picture:
                    picture.verify()
            except (OSError, UnidentifiedImageError, SyntaxError) as error:
                raise _unreadable(self.files[index], error) from error

        self._for_all(open_one, "checking pictures")

    def _decode(self, file: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as picture:
                picture.draft("L" if self.preprocess.channels == 1 else "RGB", None)
                return self.preprocess.resize_image(picture)
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise _unreadable(file, error) from error

    def _for_all(self, work: Callable[[int], None], title: str) -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            done = pool.map(work, range(len(self.files)))
            if len(self.files) < PROGRESS_FROM_IMAGES:
                list(done)
                return
            with progress() as display:
                task = display.add_task(title, total=len(self.files), note="")
                for _ in done:
                    display.advance(task)


def _unreadable(file: Path, error: Exception) -> UsageError:
    return UsageError(f"{file} cannot be decoded ({error}). Replace or remove it, then run the same command again.")


def _split_folder(root: Path, split: str) -> Path:
    names = ("train",) if split == "train" else ("validation", "val")
    for name in names:
        if (root / name).is_dir():
            return root / name
    found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else "no such folder"
    raise UsageError(
        f"data set {root} has no {' or '.join(name + '/' for name in names)} folder (found: {found or 'nothing'}). "
        "Expected <path>/train/<class>/*.jpg and <path>/validation/<class>/*.jpg."
    )


def _common_classes(train: Path, validation: Path) -> tuple[str, ...]:
    classes = {folder: {entry.name for entry in folder.iterdir() if entry.is_dir()} for folder in (train, validation)}
    if not classes[train]:
        raise UsageError(f"{train} holds no class folders. Expected {train}/<class>/*.jpg or *.png.")
    only_train, only_validation = classes[train] - classes[validation], classes[validation] - classes[train]
    if only_train or only_validation:
        differences = [f"only in {train.name}: {', '.join(sorted(only_train))}"] * bool(only_train)
        differences += [f"only in {validation.name}: {', '.join(sorted(only_validation))}"] * bool(only_validation)
        raise UsageError(
            f"the splits of {train.parent} have different classes ({'; '.join(differences)}). "
            "Each class needs a folder in both."
        )
    return tuple(sorted(classes[train]))


def _list_pictures(folder: Path, class_names: Sequence[str]) -> tuple[list[Path], NDArray[np.int64]]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = sorted(file for file in (folder / name).iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"class {name!r} has no pictures: {folder / name} holds no .jpg, .jpeg or .png file.")
        files += found
        labels += [label] * len(found)
    return files, np.asarray(labels, dtype=np.int64)


def _balanced_subset(labels: NDArray[np.int64], num_classes: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    shares = [limit // num_classes + (label < limit % num_classes) for label in range(num_classes)]
    picked = [rng.permutation(np.flatnonzero(labels == label))[:share] for label, share in enumerate(shares)]
    return np.sort(np.concatenate(picked))


def _read_patients(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"file", "patient"} <= set(reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "none"
                raise UsageError(f"{path} needs the columns 'file' and 'patient'; found {found}.")
            return {row["file"]: row["patient"] for row in reader}
    except OSError as error:
        raise UsageError(f"cannot read the patient table {path}: {error.strerror or error}.") from error


def _owners(root: Path, files: Sequence[Path], patients: dict[str, str], table: Path) -> list[str]:
    names = [file.relative_to(root).as_posix() for file in files]
    missing = [name for name in names if not patients.get(name)]
    if missing:
        raise UsageError(
            f"{table} names no patient for {len(missing)} of {len(names)} pictures, e.g. {missing[0]}. "
            "Add a row per picture; paths are relative to the data set's folder, with forward slashes."
        )
    return [patients[name] for name in names]
