"""Figures of a study as data that a page can carry. The index is what `python -m distill figures` writes."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from distill.contract import Strict, explain
from distill.errors import UsageError

INDEX_FILE = "figures.json"
MAX_SVG_BYTES = 300_000
"""Of a larger drawing the PNG is embedded, if that is smaller."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Entry(Strict):
    """One figure of the index: a stem, a heading, a caption, and the files beside the index."""

    name: FileName
    title: str
    caption: str
    png: FileName
    svg: FileName


@dataclass(frozen=True)
class Picture:
    """A figure with its image as a `data:` address."""

    title: str
    caption: str
    source: str


INDEX = TypeAdapter(tuple[Entry, ...])


def read_figures(folder: Path) -> list[Picture]:
    """The figures of a folder in the order of its index.

    Raises:
        UsageError: no index, an index of another shape, or a file it names is missing.
    """
    path = folder / INDEX_FILE
    try:
        entries = INDEX.validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}. Draw the figures first: python -m distill figures STUDY"
        ) from error
    except ValidationError as error:
        raise UsageError(
            f"{path} is not an index of figures: {explain(error)}. Draw them again: python -m distill figures STUDY"
        ) from error
    return [Picture(entry.title, entry.caption, _source(folder, entry)) for entry in entries]


def _source(folder: Path, entry: Entry) -> str:
    svg, png = folder / entry.svg, folder / entry.png
    try:
        large = svg.stat().st_size > MAX_SVG_BYTES and png.stat().st_size < svg.stat().st_size
        chosen, kind = (png, "image/png") if large else (svg, "image/svg+xml")
        return f"data:{kind};base64,{base64.b64encode(chosen.read_bytes()).decode()}"
    except OSError as error:
        raise UsageError(
            f"{folder / INDEX_FILE} names {error.filename}, which cannot be read: {error.strerror}. "
            "Draw the figures again: python -m distill figures STUDY"
        ) from error
