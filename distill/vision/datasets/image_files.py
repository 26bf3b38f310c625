"""Picture files as an `ImageSource`: all decoded at once, or when they are asked for."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from distill.contract import sha256_of_json
from distill.errors import UsageError
from distill.system import available_bytes, usable_cores
from distill.terminal import progress
from distill.vision.cache import cache_folder, cached_array
from distill.vision.datasets.duplicates import Fingerprints, fingerprints
from distill.vision.datasets.folder_tree import relative_name
from distill.vision.pictures import Picture, Trait, Unreadable, decode
from distill.vision.preprocess import Preprocess

PROGRESS_FROM_IMAGES = 2_000
SHOWN = 20
CHECK_VERSION = 1
"""Of what `ImageFiles.check` keeps; another number asks all pictures again."""

T = TypeVar("T")


class UnreadablePictures(UsageError):
    """Pictures that cannot be decoded, all of them.

    Attributes:
        root: of the data set.
        pictures: each with its reason.
    """

    def __init__(self, root: Path, pictures: Sequence[Unreadable]) -> None:
        named = [f"{relative_name(each.file, root)} ({each.reason})" for each in pictures[:SHOWN]]
        if len(pictures) > SHOWN:
            named.append(f"and {len(pictures) - SHOWN} more, which python -m distill data lists")
        count = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
        super().__init__(
            f"{count} of {root} cannot be decoded: {'; '.join(named)}. "
            "Replace or remove them, then run the same command again."
        )
        self.root = root
        self.pictures = tuple(pictures)

    @classmethod
    def together(cls, errors: Sequence["UnreadablePictures"]) -> "UnreadablePictures":
        """One error for those of several splits."""
        return cls(errors[0].root, [picture for error in errors for picture in error.pictures])


def fits_in_memory(size_bytes: int, limit_mib: int) -> bool:
    """Whether decoded pictures may be kept: within a data set's limit and half of the memory that is free.

    The other half is the network's and the next split's; in a small container a stream is slower and lives.
    """
    free_bytes = available_bytes()
    return size_bytes <= limit_mib * 2**20 and (free_bytes is None or size_bytes <= free_bytes / 2)


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
        return np.stack([self._decode(int(index))[0] for index in indices])

    def identity(self) -> str:
        """Hash over the pixels, as far as `check` has seen or can see them all."""
        return hashlib.sha256(self.fingerprints().digests.tobytes()).hexdigest()

    def fingerprints(self) -> Fingerprints:
        """What each picture is recognised by."""
        return self.check.fingerprints

    @property
    def traits(self) -> NDArray[np.uint8]:
        """uint8 [N]: the `Trait` of each picture."""
        return self.check.traits

    def decode_all(self) -> NDArray[np.uint8]:
        """Every picture, decoded by as many threads as there are cores; raises UnreadablePictures."""
        return self.decode_all_with_traits()[0]

    def decode_all_with_traits(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """As `decode_all`, and the `Trait` of each picture, uint8 [N]."""
        images = np.empty(self.shape, dtype=np.uint8)
        traits = np.empty(len(self.files), dtype=np.uint8)

        def decode_into(index: int) -> None:
            images[index], traits[index] = self._decode(index)

        self._for_all(decode_into, "decoding pictures")
        return images, traits

    @cached_property
    def check(self) -> "Check":
        """Every picture decoded once, and what is worth knowing of it; kept on disk while names and dates stay.

        Raises:
            UnreadablePictures: all that cannot be decoded.
        """

        def look() -> NDArray[np.uint8]:
            rows = np.empty((len(self.files), 26), dtype=np.uint8)

            def look_at(index: int) -> None:
                image, traits = self._decode(index)
                prints = fingerprints(image[None])
                rows[index, :16] = np.frombuffer(prints.digests.tobytes(), dtype=np.uint8)
                rows[index, 16:24] = prints.looks.view(np.uint8)
                rows[index, 24], rows[index, 25] = prints.flat[0], traits

            self._for_all(look_at, "checking pictures")
            return rows

        rows = cached_array(cache_folder() / f"checked-pictures-{self._state()[:16]}.array", look)
        columns = [np.ascontiguousarray(part) for part in np.split(rows, (16, 24, 25), axis=1)]
        prints = Fingerprints(
            columns[0].view("V16")[:, 0], columns[1].view(np.uint64)[:, 0], columns[2][:, 0].astype(bool)
        )
        return Check(prints, columns[3][:, 0])

    def _state(self) -> str:
        """Hash over names, sizes and dates, and over everything that decides how they are decoded."""
        files = [(os.fsencode(file.relative_to(self.root)).hex(), _size_and_date(file)) for file in self.files]
        return sha256_of_json([str(self.root.resolve()), files, *self._rule()])

    def _decode(self, index: int) -> tuple[NDArray[np.uint8], Trait]:
        picture = self._picture(index)
        return self.preprocess.resize_image(picture.image), picture.traits

    def _picture(self, index: int) -> Picture:
        return decode(self.files[index], self.preprocess.channels)

    def _rule(self) -> list[object]:
        """What decides, beside the files, how they are decoded."""
        rule = self.preprocess.model_dump(mode="json", include={"size_px", "resize", "channels"})
        # Left out where they are as ever, so that what is kept of pictures stays valid.
        rule |= self.preprocess.model_dump(include={"crop_share", "interpolation"}, exclude_defaults=True)
        return [rule, CHECK_VERSION, PIL.__version__]

    def _for_all(self, work: Callable[[int], None], title: str) -> None:
        unreadable: dict[Path, Unreadable] = {}

        def try_image(index: int) -> None:
            try:
                work(index)
            except Unreadable as error:
                unreadable[error.file] = error

        with ThreadPoolExecutor(usable_cores()) as pool:
            for _ in _shown(pool.map(try_image, range(len(self.files))), len(self.files), title):
                pass
        if unreadable:
            raise UnreadablePictures(self.root, [unreadable[file] for file in sorted(unreadable)])


@dataclass(frozen=True)
class Check:
    """What `ImageFiles.check` saw.

    Attributes:
        fingerprints: of the pictures as the network sees them.
        traits: uint8 [N], the `Trait` of each.
    """

    fingerprints: Fingerprints
    traits: NDArray[np.uint8]


def _shown(done: Iterable[T], total: int, title: str) -> Iterable[T]:
    if total < PROGRESS_FROM_IMAGES:
        yield from done
        return
    with progress() as display:
        task = display.add_task(title, total=total, note="")
        for each in done:
            yield each
            display.advance(task)


def _size_and_date(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # a link that leads nowhere; decoding it says so
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)
