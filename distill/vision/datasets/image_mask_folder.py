"""image-mask-folder: your own pictures with a mask or a depth map of each.

    <path>/<split>/images/NAME.jpg    <path>/<split>/masks/NAME.png    8-bit grey or palette: the number is the class
                                      <path>/<split>/depth/NAME.png    16-bit grey: millimetres, 0 = not known

Splits are `train`, `validation` and, if there is one, `test`. Folders inside `images/` (cities, scenes, patients) are
groups and have their counterparts inside `masks/` or `depth/`. `<path>/classes.txt` names the classes, one a line.

- CityScapes: `images/` are links to leftImg8bit's, `masks/` to gtFine's `*_labelTrainIds.png` under the pictures'
  names; classes.txt holds the 19 training classes, 255 is not known already.
- NYUv2: `images/` and `depth/` are the maps of the labelled set, written as 16-bit PNG in millimetres.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from distill.errors import UsageError
from distill.system import usable_cores
from distill.vision.datasets import folder_tree
from distill.vision.datasets.image_files import SHOWN, ImageFiles, fits_in_memory
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.pictures import ORIENTATION
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import DEPTH_CLASSES, IGNORED, TaskName

CLASSES_FILE = "classes.txt"
PLAUSIBLE_MEDIAN_M = (0.1, 200.0)
"""Median depth of a split; other values are in another unit than `depth_unit_m` says."""


class ImageMaskFolder(DatasetSettings):
    """Pictures with masks (or depth maps) of the same size.

    Attributes:
        path: holds the splits and, for masks, `classes.txt`.
        truth: what lies beside `images/`.
        channels: 1 = read pictures as greyscale, 3 = as RGB.
        depth_unit_m: metres that 1 stands for in a depth map.
        memory_limit_mib: a split that is larger once decoded and resized, or than half of the memory that is free, is
            streamed from disk instead.
    """

    kind: Literal["image-mask-folder"] = "image-mask-folder"
    path: str
    truth: Literal["masks", "depth"] = "masks"
    channels: Literal[1, 3] = 3
    depth_unit_m: Annotated[float, Field(gt=0)] = 0.001
    memory_limit_mib: Annotated[int, Field(ge=0)] = 4096

    @property
    def task(self) -> TaskName:
        """By what lies beside the pictures."""
        return "segmentation" if self.truth == "masks" else "depth"

    @property
    def has_test(self) -> bool:
        """True if there is a `test/` folder with pictures and what is true of them."""
        root = Path(self.path)
        folders = folder_tree.split_folders(root) if root.is_dir() else {}
        return "test" in folders and (folders["test"] / self.truth).is_dir()

    def load(self, split: SplitName, preprocess: Preprocess) -> Split:
        """Read one split, resized by `preprocess`.

        Raises:
            UsageError: a missing folder; pictures that cannot be decoded; and, all of them at once, pictures without
                a mask, masks of another size than their picture, masks with numbers beyond the classes; depth in
                another unit.
        """
        root = Path(self.path)
        files, truths, groups = self._pairs(root, split)
        names = self._class_names(root)
        source = ImageFiles(root, files, preprocess)
        known = TruthFiles(truths, preprocess, self.depth_unit_m if self.truth == "depth" else None)
        self._check(root, files, known, len(names))
        nothing = np.zeros(len(files), dtype=np.int64)
        relative = tuple(folder_tree.relative_name(file, root) for file in files)
        needed = np.prod(source.shape) + np.prod(known.shape) * (4 if self.truth == "depth" else 1)
        if not fits_in_memory(int(needed), self.memory_limit_mib):
            _ = source.check
            return Split(source, nothing, names, groups, relative, task=self.task, truth=known)
        images = source.decode_all()
        return Split(images, nothing, names, groups, relative, task=self.task, truth=known[np.arange(len(truths))])

    def _pairs(
        self, root: Path, split: SplitName
    ) -> tuple[tuple[Path, ...], tuple[Path, ...], NDArray[np.int64] | None]:
        """Pictures, what is true of each, and which folder each lies in where there are several."""
        if not root.is_dir():
            raise UsageError(f"data set {root}: there is no such folder. Set dataset.path to your pictures.")
        folder = folder_tree.split_folders(root).get(split, root / split)
        places = folder / "images", folder / self.truth
        for place in places:
            if not place.is_dir():
                raise UsageError(
                    f"data set {root} has no {place.relative_to(root).as_posix()}/. Expected {split}/images/NAME.jpg "
                    f"and {split}/{self.truth}/NAME.png."
                )
        files = folder_tree.list_pictures(places[0]).pictures
        if not files:
            raise UsageError(f"{places[0]} holds no picture.")
        truths = [places[1] / file.relative_to(places[0]).with_suffix(".png") for file in files]
        missing = [folder_tree.relative_name(file, root) for file in truths if not file.is_file()]
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(files)} pictures in {places[0]} have no {_one(self.truth)}: expected "
                f"{_few(missing)}. Add them, or move their pictures away."
            )
        owners = [file.relative_to(places[0]).parent.as_posix() for file in files]
        numbers = {owner: number for number, owner in enumerate(sorted(set(owners)))}
        offset = sorted(folder_tree.SPLIT_FOLDERS).index(split) * 1_000_000  # no folder is in two splits
        groups = np.asarray([offset + numbers[owner] for owner in owners], dtype=np.int64)
        return files, tuple(truths), groups if len(numbers) > 1 else None

    def _class_names(self, root: Path) -> tuple[str, ...]:
        if self.truth == "depth":
            return DEPTH_CLASSES
        file = root / CLASSES_FILE
        try:
            names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{file} cannot be read ({error}). It names the classes of the masks, one a line: the first is 0."
            ) from error
        if not 2 <= len(names) < IGNORED or len(set(names)) < len(names):
            raise UsageError(f"{file} names {len(names)} classes; expected 2 to {IGNORED - 1}, each once.")
        return names

    def _check(self, root: Path, files: Sequence[Path], known: "TruthFiles", num_classes: int) -> None:
        """Look at every mask once; raise UsageError with all that is wrong."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            looks = list(pool.map(lambda picture, truth: look_at(picture, truth, known), files, known.files))
        faults = [
            f"{folder_tree.relative_name(file, root)} {fault}"
            for file, look in zip(known.files, looks, strict=True)
            for fault in look.faults(num_classes if self.truth == "masks" else None)
        ]
        if faults:
            raise UsageError(
                f"{len(faults)} of {len(files)} files in {root} do not fit: {_few(faults)}. Put them right, or move "
                "them away with their pictures."
            )
        medians = [look.median for look in looks if look.median is not None]
        low, high = PLAUSIBLE_MEDIAN_M
        if self.truth == "depth" and (not medians or not low <= float(np.median(medians)) <= high):
            found = f"a median of {np.median(medians):.3g} m" if medians else "no pixel whose depth is known"
            raise UsageError(
                f"the depth maps of {root} have {found}; expected {low:g} to {high:g} m. They seem to be in another "
                f"unit than dataset.depth_unit_m={self.depth_unit_m:g} says: 0.001 is millimetres, 0.01 centimetres, "
                "0.00390625 (1 / 256) that of KITTI."
            )


@dataclass(frozen=True)
class TruthFiles:
    """Masks or depth maps on disk, decoded and resized when they are asked for.

    Attributes:
        unit_m: metres that 1 stands for; None for masks.
    """

    files: tuple[Path, ...]
    preprocess: Preprocess
    unit_m: float | None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W) as decoded."""
        return (len(self.files), self.preprocess.size_px, self.preprocess.size_px)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        dtype = np.uint8 if self.unit_m is None else np.float32
        if not len(indices):
            return np.empty((0, *self.shape[1:]), dtype=dtype)
        return np.stack([self.resized(self.files[int(index)]) for index in indices])

    def resized(self, file: Path) -> NDArray[Any]:
        """One of them at the network's size: classes uint8, or metres float32."""
        values = self.whole(file)
        if self.unit_m is None:
            return self.preprocess.resize_truth(Image.fromarray(values.astype(np.uint8)))
        metres = values.astype(np.float32) * np.float32(self.unit_m)
        return self.preprocess.resize_truth(Image.fromarray(metres))

    def whole(self, file: Path) -> NDArray[Any]:
        """One of them as it lies on disk, [H, W]; raises UsageError if it is no such map."""
        try:
            with Image.open(file) as opened:
                opened.load()
                values, mode = np.asarray(opened), opened.mode
        except Exception as error:  # a damaged file makes a decoder raise anything
            raise UsageError(f"{file} cannot be decoded ({type(error).__name__}: {error}).") from error
        expected = ("L", "P", "1") if self.unit_m is None else ("I;16", "I;16B", "I", "L")
        if mode not in expected:
            what = "8-bit grey or palette" if self.unit_m is None else "16-bit grey"
            raise UsageError(f"{file} is a picture of mode {mode}; expected {what}, a number for each pixel.")
        return values


@dataclass(frozen=True)
class Look:
    """What was seen of one mask or depth map.

    Attributes:
        fault: why it cannot be read, in words.
        sizes: width and height of it and of its picture.
        numbers: pixels of each number in a mask.
        median: depth in metres of the pixels whose depth is known; None without any.
    """

    fault: str | None = None
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    numbers: NDArray[np.int64] | None = None
    median: float | None = None

    def faults(self, num_classes: int | None) -> Iterator[str]:
        """What is wrong with it, in words."""
        if self.fault is not None:
            yield self.fault
        if self.sizes is not None and self.sizes[0] != self.sizes[1]:
            (width, height), (its_width, its_height) = self.sizes
            yield f"has {width} x {height} pixels, its picture {its_width} x {its_height}"
        if num_classes is not None and self.numbers is not None:
            unknown = [number for number in np.flatnonzero(self.numbers).tolist() if num_classes <= number != IGNORED]
            for number in unknown[:3]:
                yield (
                    f"holds {number} in {self.numbers[number]} pixels, but {CLASSES_FILE} names classes 0 to "
                    f"{num_classes - 1} ({IGNORED} is not known)"
                )


def look_at(picture: Path, truth: Path, known: TruthFiles) -> Look:
    """Compare a mask or depth map with its picture."""
    try:
        values = known.whole(truth)
    except UsageError as error:
        return Look(fault=str(error).removeprefix(f"{truth} ").rstrip("."))
    sizes = (values.shape[1], values.shape[0]), _upright_size(picture) or (values.shape[1], values.shape[0])
    if known.unit_m is None:
        return Look(sizes=sizes, numbers=np.bincount(values.astype(np.uint8).ravel(), minlength=256))
    there = values[values > 0]
    return Look(sizes=sizes, median=float(np.median(there)) * known.unit_m if len(there) else None)


def _upright_size(picture: Path) -> tuple[int, int] | None:
    """Width and height of a picture as a viewer shows it; None if it cannot be opened, which decoding it says."""
    try:
        with Image.open(picture) as opened:
            width, height = opened.size
            turned = opened.getexif().get(ORIENTATION, 1) >= 5
    except Exception:  # a damaged file makes a decoder raise anything
        return None
    return (height, width) if turned else (width, height)


def _one(truth: str) -> str:
    return "mask" if truth == "masks" else "depth map"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
