"""Text tables as people's programs write them."""

import csv
import io
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.folder_tree import readable_name

DELIMITERS = ",;\t|"

WORKBOOKS = (b"PK\3\4", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""How the files of spreadsheet programs begin, new and old."""

MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""How marked encodings begin; a longer mark comes before one that it begins with."""


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        columns: by name, in small letters, the first of each name; each with as many cells as there are rows, blanks
            around them gone. A row that ends early has empty cells in the last columns.
    """

    columns: Mapping[str, tuple[str, ...]]


def read_table(path: Path, what: str, columns: Sequence[str] = ()) -> Table:
    """Read UTF-8, UTF-16 and UTF-32 (marked or not) and Windows-1252, with commas, semicolons, tabs or bars.

    Lines before the head that hold nothing, and the line `sep=;` of spreadsheet programs, are passed over.

    Args:
        path: the table's file.
        what: it is, for messages.
        columns: that it may have, in small letters; the delimiter is the one that parts most of them.

    Raises:
        UsageError: it cannot be read, or is no text table.
    """
    try:
        text = _decoded(path.read_bytes(), path)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror or error}.") from error
    if "\0" in text:
        raise UsageError(f"{path} is not a table: it holds zero bytes. Save it as CSV.")
    text = text.lstrip("\r\n")
    if text[:4].lower() == "sep=":
        text = text[5:].lstrip("\r\n")
    delimiter = _delimiter(text, columns)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UsageError(f"{path} is not a table: {error}. Save it as CSV.") from error
    names = _head(lines[0]) if lines else []
    rows = [line for line in lines[1:] if line]
    found: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, tuple(line[place].strip() if place < len(line) else "" for line in rows))
    return Table(found)


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """What parts most of the named columns in the head; among equals what there is most of."""
    head = text.splitlines()[0] if text else ""

    def parted(delimiter: str) -> tuple[int, int]:
        names = _head(next(csv.reader([head], delimiter=delimiter), []))
        return sum(name in columns for name in names), len(names)

    return max(DELIMITERS, key=parted)


def _head(cells: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in cells]


def relative_path(name: str) -> str:
    """A file's path as a table writes it, readable, with forward slashes."""
    written = name.strip().replace("\\", "/")
    return readable_name(posixpath.normpath(written)) if written else ""


def _decoded(data: bytes, path: Path) -> str:
    if data.startswith(WORKBOOKS):
        raise UsageError(f"{path} is a workbook, not a text table. Save it as 'CSV UTF-8'.")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), None) or _unmarked(data[:200])
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252" if encoding == "utf-8-sig" else "latin-1", errors="replace")


def _unmarked(head: bytes) -> str:
    """By where the zero bytes of the first letters, of which most are Latin ones, stand."""
    if len(head) > 3 and head.count(0) >= len(head) // 3:
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"
