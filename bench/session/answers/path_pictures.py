"""The pictures that the whole path is timed with: a few held-out ones, as files."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
from PIL import Image

from bench.session.answers.held_out import SEED, as_phones_decode, png
from bench.session.cells import Cell
from distill.errors import ToolError, UsageError
from distill.vision.datasets import DatasetConfig
from distill.vision.datasets.held_back import HeldBack
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.datasets.moved import moved
from distill.vision.preprocess import Preprocess

COUNT = 8
"""Enough that sizes and contents vary."""


@dataclass(frozen=True)
class PathPictures:
    """Picture files that every phone decodes, and what they are called."""

    files: tuple[bytes, ...]
    words: str

    @property
    def sha256(self) -> str:
        """Identity of the pictures in their order."""
        return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in self.files)).hexdigest()


def path_pictures(cell: Cell, place: Path | None, picture: Path | None) -> PathPictures:
    """What an artifact's path is timed with: one picture if it is named, else held-out ones, else its golden input.

    Args:
        cell: the artifact is its.
        place: where its data set lies now; None for where the manifest says.
        picture: the one to take instead.

    Raises:
        UsageError: `picture` cannot be decoded.
    """
    if picture is not None:
        if not picture.is_file():
            raise UsageError(f"--picture {picture}: there is no such file.")
        files, what = [_file(ImageFolder(path=str(picture.parent)), picture)], picture.name
    else:
        files, what = _held_out(cell, place), "held-out pictures"
    if not files:
        files, what = _golden(cell), "its golden input, no held-out picture being there"
    sizes = [Image.open(io.BytesIO(data)).size for data in files]
    width, height = (round(median(sides)) for sides in zip(*sizes, strict=True))
    count = f"{len(files)} " if len(files) > 1 else ""
    return PathPictures(tuple(files), f"{count}{what}, {width} x {height} px")


def _held_out(cell: Cell, place: Path | None) -> list[bytes]:
    """A few pictures of the artifact's data; none if they cannot be had without further ado."""
    config = cell.manifest.dataset
    if config is None:
        return []
    try:
        config = config if place is None else moved(config, place)
        return list(_chosen(config, cell.manifest.preprocess))
    except ToolError:
        # It is the golden input then; that data are missing is told where they are needed.
        return []


def _chosen(config: DatasetConfig, rule: Preprocess) -> Iterator[bytes]:
    source, split = config, "validation"
    while isinstance(source, HeldBack):
        source, split = source.of, "train"
    if isinstance(source, ImageFolder):
        part = source.find().parts[split]
        for index in _drawn(len(part.files)):
            yield _file(source, part.files[index])
    elif source.stored_px is not None:
        images = source.load(split, rule.model_copy(update={"size_px": source.stored_px})).images
        for pixels in images[_drawn(len(cast(np.ndarray, images)))]:
            yield png(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _drawn(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(count)[:COUNT]


def _file(config: ImageFolder, file: Path) -> bytes:
    return as_phones_decode(file.read_bytes(), lambda: config.decode(file, 3).image)[0]


def _golden(cell: Cell) -> list[bytes]:
    roles = {file.role for file in cell.manifest.files}
    shape = cell.manifest.input.shape[1:]
    values = np.full(shape, 0.5, dtype=np.float32)
    if "golden-input" in roles:
        values = np.load(cell.folder / cell.manifest.file("golden-input"), allow_pickle=False)[0]
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return [png(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))]
