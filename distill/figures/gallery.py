"""The folder of figures: PNG and SVG of each, and `figures.json`, which lists them."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from matplotlib.figure import Figure
from pydantic import Field, TypeAdapter

from distill.contract import Strict, write_whole

INDEX_FILE = "figures.json"
PNG_DPI = 200

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Entry(Strict):
    """One figure of `figures.json`, which is a list of these in the order to show them.

    Attributes:
        name: stem of the file names, unique in the list, stable from one drawing of a study to the next.
        title: a few words, for a heading or an `alt` text.
        caption: data, seeds, epochs, what bars mean and, where there are times, the device they are of.
        png, svg: file names in the folder of `figures.json`.
    """

    name: FileName
    title: str
    caption: str
    png: FileName
    svg: FileName


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn but not written."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class LeftOut:
    """A figure that this study has nothing for; `reason` says what is missing."""

    name: str
    reason: str


INDEX = TypeAdapter(tuple[Entry, ...])


def file_name(words: str) -> str:
    """What is left of a student's or group's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words)


def write_drawing(folder: Path, drawing: Drawing) -> Entry:
    """Write the two pictures of a figure, for a page that lists it; the same figure gives the same bytes."""
    write_pictures(folder, drawing)
    return Entry(
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        png=f"{drawing.name}.png",
        svg=f"{drawing.name}.svg",
    )


def write_pictures(folder: Path, drawing: Drawing) -> None:
    """As `write_drawing`, for a figure that is on no page: its name may be whatever a file's may be."""
    write_whole(folder / f"{drawing.name}.png", _rendered(drawing.figure, "png", {"Software": None}))
    write_whole(folder / f"{drawing.name}.svg", _rendered(drawing.figure, "svg", {"Date": None, "Creator": None}))


def write_index(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write `figures.json`; to be called after every picture it names."""
    path = folder / INDEX_FILE
    write_whole(path, INDEX.dump_json(tuple(entries), indent=2) + b"\n")
    return path


def _rendered(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()
