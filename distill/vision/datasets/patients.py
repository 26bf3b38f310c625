"""A table that says which picture shows which patient, as people's programs write it."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.tables import read_table, relative_path

SHOWN = 5


class PatientTable:
    """The columns `file` and `patient` of a text table.

    Read is what `read_table` reads. Blanks, case and Unicode forms of patients and the direction of slashes do not
    matter.

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
        torn = {file: names for file, names in owners.items() if len({person(name) for name in names}) > 1}
        if torn:
            few = "; ".join(f"{file}: {' and '.join(names)}" for file, names in list(torn.items())[:SHOWN])
            raise UsageError(
                f"{path} gives {len(torn)} picture(s) to more than one patient ({few}{_more(len(torn))}). "
                "Leave one row per picture."
            )
        self.patients: Mapping[str, str] = {file: person(next(iter(names))) for file, names in owners.items()}

    def owners(self, names: Sequence[str]) -> list[str]:
        """The patient of each picture, by relative name; raises UsageError if some are in no row."""
        missing = [name for name in names if name not in self.patients]
        if missing:
            raise UsageError(
                f"{self.path} names no patient for {len(missing)} of {len(names)} pictures, e.g. {missing[0]}"
                f"{self._instead(names)}. Add a row per picture; paths are relative to the data set's folder."
            )
        return [self.patients[name] for name in names]

    def _instead(self, names: Sequence[str]) -> str:
        """A file that the table names and that is not there, which may show how its paths differ."""
        strange = self.patients.keys() - set(names)
        return f", but one for {min(strange)}" if strange else ""


def person(name: str) -> str:
    """A patient's name or number as it is compared: blanks of any kind, case and Unicode forms do not matter.

    Signs that nobody sees are left out, as is what tells full-width letters from others. Of a whole number the zeros
    before it and a fraction of zeros are left out, too: spreadsheets make 7 of 007, and 7.0 where a cell is empty. Two
    that are taken for one stay on one side of a split; one that is taken for two may be on both.
    """
    plain = unicodedata.normalize("NFKC", name)
    seen = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    name = unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())
    number = re.fullmatch(r"(\d{1,100})(\.0+)?", name)
    return str(int(number[1])) if number else name


def _more(count: int) -> str:
    return f"; and {count - SHOWN} more" if count > SHOWN else ""


def _rows(path: Path) -> list[tuple[str, str]]:
    table = read_table(path, "the patient table", ("file", "patient"))
    if not {"file", "patient"} <= table.columns.keys():
        raise UsageError(f"{path} needs the columns 'file' and 'patient'; found {', '.join(table.columns) or 'none'}.")
    return [
        (relative_path(file), patient)
        for file, patient in zip(table.columns["file"], table.columns["patient"], strict=True)
    ]
