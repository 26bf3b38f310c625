"""A table that says what DICOM files show."""

from collections.abc import Mapping
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.folder_tree import readable_name
from distill.vision.datasets.tables import read_table, relative_path

FILE, UID, CLASS, PATIENT = "file", "sopinstanceuid", "class", "patient"


class LabelTable:
    """The columns `file` or `SOPInstanceUID`, `class` and, if there is one, `patient` of a text table.

    Attributes:
        path: the table's file.
        rows: how many name a file and a class.
    """

    def __init__(self, path: Path) -> None:
        """Read the table.

        Raises:
            UsageError: it cannot be read, lacks a column, or gives one file two classes or two patients.
        """
        self.path = path
        columns = read_table(path, "the table of labels", (FILE, UID, CLASS, PATIENT)).columns
        keys = [name for name in (FILE, UID) if name in columns]
        if not keys or CLASS not in columns:
            raise UsageError(
                f"{path} needs the columns 'file' or 'SOPInstanceUID', and 'class'; "
                f"found {', '.join(columns) or 'none'}."
            )
        self._by = {key: _cells(path, columns, key) for key in keys}
        self.rows = max(len(cells) for cells in self._by.values())
        self._seen: set[tuple[str, str]] = set()

    def label(self, name: str, sop_instance_uid: str) -> str | None:
        """The class of a file, by its path relative to the data set or its UID; None if it is in no row."""
        row = self._row(name, sop_instance_uid)
        return None if row is None else row[0]

    def patient(self, name: str, sop_instance_uid: str) -> str:
        """The patient of a file; empty where the table does not say."""
        row = self._row(name, sop_instance_uid)
        return "" if row is None else row[1]

    @property
    def unused(self) -> int:
        """Rows that no file was asked for."""
        return self.rows - len(self._seen)

    def _row(self, name: str, sop_instance_uid: str) -> tuple[str, str] | None:
        for key, value in ((FILE, name), (UID, sop_instance_uid)):
            row = self._by.get(key, {}).get(value)
            if row is not None:
                self._seen.add((key, value))
                return row
        return None


def _cells(path: Path, columns: Mapping[str, tuple[str, ...]], key: str) -> dict[str, tuple[str, str]]:
    """(Class, patient) by path or UID."""
    patients = columns.get(PATIENT, ("",) * len(columns[key]))
    rows: dict[str, tuple[str, str]] = {}
    torn = 0
    for value, label, patient in zip(columns[key], columns[CLASS], patients, strict=True):
        if not (value and label):
            continue
        row = (readable_name(label), patient)
        torn += rows.setdefault(relative_path(value) if key == FILE else value, row) != row
    if torn:
        raise UsageError(f"{path} gives {torn} file(s) two classes or two patients. Leave one row per file.")
    return rows
