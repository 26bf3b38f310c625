"""A table that says which picture shows which patient, as people's programs write it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.tables import read_table, relative_path

SHOWN = 5


class PatientTable:
    """The columns `file` and `patient` of a text table.

    Read are UTF-8 and UTF-16 (marked or not) and Windows-1252, with commas, semicolons or tabs. Blanks around names,
    the case of patients and the direction of slashes do not matter.

    Attributes:
        path: the table's file.
        patients: patient of each file, by its path relative to the data set's folder.
    """

    def __init__(self, path: Path) -> None:
        """Read the table.

        Raises:
            UsageError: it cannot be read, lacks a column, or gives one picture to two patients.
        """
        self.path = path
        rows = _rows(path)
        owners: dict[str, dict[str, None]] = {}
        for file, patient in rows:
            if file and patient:
                owners.setdefault(file, {})[patient] = None
        torn = {file: names for file, names in owners.items() if len({name.casefold() for name in names}) > 1}
        if torn:
            few = "; ".join(f"{file}: {' and '.join(names)}" for file, names in list(torn.items())[:SHOWN])
            raise UsageError(
                f"{path} gives {len(torn)} picture(s) to more than one patient ({few}{_more(len(torn))}). "
                "Leave one row per picture."
            )
        self.patients: Mapping[str, str] = {file: next(iter(names)).casefold() for file, names in owners.items()}

    def owners(self, names: Sequence[str]) -> list[str]:
        """The patient of each picture, by relative name; raises UsageError if some are in no row."""
        missing = [name for name in names if name not in self.patients]
        if missing:
            raise UsageError(
                f"{self.path} names no patient for {len(missing)} of {len(names)} pictures, e.g. {missing[0]}. "
                "Add a row per picture; paths are relative to the data set's folder, with forward slashes."
            )
        return [self.patients[name] for name in names]


def _more(count: int) -> str:
    return f"; and {count - SHOWN} more" if count > SHOWN else ""


def _rows(path: Path) -> list[tuple[str, str]]:
    table = read_table(path, "the patient table")
    if not {"file", "patient"} <= table.columns.keys():
        raise UsageError(f"{path} needs the columns 'file' and 'patient'; found {', '.join(table.columns) or 'none'}.")
    return [
        (relative_path(file), patient)
        for file, patient in zip(table.columns["file"], table.columns["patient"], strict=True)
    ]
