"""Pictures as zip files, to be pushed to a phone: few files instead of thousands, each known by its hash."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.session.answers.held_out import HeldOut
from distill.contract import sha256_of_file

PACK_BYTES = 8 * 2**20
"""A pack is closed when it holds so much: what a broken push loses."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Date of every entry, so that the same pictures make the same bytes."""


@dataclass(frozen=True)
class Pack:
    """One zip file on this machine, called by its hash."""

    path: Path
    sha256: str
    count: int

    @property
    def name(self) -> str:
        """Of the file, here and on a phone."""
        return self.path.name


@dataclass(frozen=True)
class Packed:
    """All pictures of a data set as files.

    Attributes:
        packs: in the order of the pictures.
        rewritten: how many are in formats that phones do not decode, and went as PNG.
    """

    packs: tuple[Pack, ...]
    rewritten: int


def pack(held_out: HeldOut, folder: Path, told: Callable[[int], None] = lambda done: None) -> Packed:
    """Write the pictures into zip files in `folder`; `told` is called with how many are written."""
    packs: list[Pack] = []
    rewritten = 0
    for positions in _divided(held_out):
        path = folder / f"unnamed-{len(packs)}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for index in positions:
                data, is_new = held_out.file(index)
                rewritten += is_new
                archive.writestr(zipfile.ZipInfo(f"{index:08}", LONG_AGO), data)
                told(index + 1)
        sha256 = sha256_of_file(path)
        packs.append(Pack(path.rename(folder / f"{sha256}.zip"), sha256, len(positions)))
    return Packed(tuple(packs), rewritten)


def pack_files(files: Sequence[bytes], folder: Path) -> Pack:
    """Write a few picture files into one zip file in `folder`."""
    path = folder / "unnamed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index, data in enumerate(files):
            archive.writestr(zipfile.ZipInfo(f"{index:08}", LONG_AGO), data)
    sha256 = sha256_of_file(path)
    return Pack(path.rename(folder / f"{sha256}.zip"), sha256, len(files))


def _divided(held_out: HeldOut) -> Iterator[list[int]]:
    """Positions of the pictures of each pack."""
    part: list[int] = []
    size_bytes = 0
    for index in range(len(held_out)):
        part.append(index)
        size_bytes += held_out.files[index].stat().st_size if held_out.files else held_out.picture(index).width ** 2 * 3
        if size_bytes >= PACK_BYTES:
            yield part
            part, size_bytes = [], 0
    if part:
        yield part
