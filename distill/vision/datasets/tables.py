"""Text tables as people's programs write them."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.folder_tree import readable_name


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        columns: by name, in small letters; each with as many cells as there are rows, blanks around them gone. A row
            that ends early has empty cells in the last columns.
    """

    columns: Mapping[str, tuple[str, ...]]


def read_table(path: Path, what: str) -> Table:
    """Read UTF-8 and UTF-16 (marked or not) and Windows-1252, with commas, semicolons or tabs.

    Args:
        path: the table's file.
        what: it is, for messages.

    Raises:
        UsageError: it cannot be read, or is no text table.
    """
    try:
        text = _decoded(path.read_bytes(), path)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror or error}.") from error
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UsageError(f"{path} is not a table: {error}. Save it as CSV.") from error
    names = [name.strip().lower() for name in lines[0]] if lines else []
    rows = [line for line in lines[1:] if line]
    return Table(
        {
            name: tuple(line[place].strip() if place < len(line) else "" for line in rows)
            for place, name in enumerate(names)
        }
    )


def relative_path(name: str) -> str:
    """A file's path as a table writes it, readable, with forward slashes."""
    return readable_name(name.strip().replace("\\", "/").removeprefix("./"))


def _decoded(data: bytes, path: Path) -> str:
    if data.startswith(b"PK\3\4"):
        raise UsageError(f"{path} is a workbook, not a text table. Save it as 'CSV UTF-8'.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:200]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252" if encoding == "utf-8-sig" else "latin-1", errors="replace")
