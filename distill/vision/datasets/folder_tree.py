"""What lies in a folder of pictures: splits, classes, pictures, and whatever is none of them.

Names are compared as people read them: the Unicode forms of one name are the same name, and bytes that are no UTF-8 are
taken for Latin-1.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.vision.datasets.split import SplitName
from distill.vision.pictures import HEIF_SUFFIXES, SUFFIXES, reads_heif

SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""Names that a split's folder may have, in any case."""

NO_DATA = frozenset(
    {
        "__macosx",
        "@eadir",
        "@tmp",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "lost.dir",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
"""What systems leave in folders, in small letters; so are names that begin with a dot."""


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        pictures: files with the suffix of a picture, sorted by path.
        not_used: everything else but what systems leave behind, sorted by path.
    """

    pictures: tuple[Path, ...]
    not_used: tuple[Path, ...]


def list_pictures(folder: Path) -> Listing:
    """Every file below `folder` at any depth, each folder once even if links lead to it twice.

    Raises:
        UsageError: a folder that cannot be opened.
    """
    pictures: list[Path] = []
    others: list[Path] = []
    for file in _files_below(folder):
        (pictures if _is_picture(file) else others).append(file)
    return Listing(tuple(sorted(pictures)), tuple(sorted(others)))


def is_no_data(name: str) -> bool:
    """True of names that a person did not give: `.DS_Store`, `._picture.jpg`, `__MACOSX`, `@eaDir` and the like."""
    return name.startswith(".") or name.lower() in NO_DATA


def readable_name(name: str) -> str:
    """A name of the disk as a person reads it: composed Unicode; bytes that are no UTF-8 as Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return unicodedata.normalize("NFC", name)


def relative_name(file: Path, root: Path) -> str:
    """Path of a file below `root`, readable, with forward slashes."""
    return readable_name(file.relative_to(root).as_posix())


def split_folders(root: Path) -> dict[SplitName, Path]:
    """The folders of the splits that `root` has.

    Raises:
        UsageError: no such folder, or two folders for one split.
    """
    folders: dict[SplitName, Path] = {}
    for folder in subfolders(root):
        for split, names in SPLIT_FOLDERS.items():
            if folder.name.lower() in names:
                if split in folders:
                    raise UsageError(
                        f"data set {root} has two folders for {split}: {folders[split].name}/ and {folder.name}/. "
                        "Move one of them away."
                    )
                folders[split] = folder
    return {split: folders[split] for split in SPLIT_FOLDERS if split in folders}


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Class name -> the folders of that name (several if it is written in several Unicode forms), sorted by name."""
    folders: dict[str, list[Path]] = {}
    for entry in subfolders(folder):
        folders.setdefault(readable_name(entry.name), []).append(entry)
    return dict(sorted(folders.items()))


def alike(names: Sequence[str]) -> list[str]:
    """A sentence for classes whose names differ in small and capital letters or in blanks only."""
    forms: dict[str, list[str]] = {}
    for name in names:
        forms.setdefault("".join(name.split()).casefold(), []).append(name)
    return [
        f"the classes {' and '.join(map(repr, same))} differ in capital letters or blanks only; if they are one, give "
        "them one name"
        for same in forms.values()
        if len(same) > 1
    ]


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that may be data, sorted by name; raises UsageError if it cannot be opened."""
    return sorted(Path(entry.path) for entry in _entries(folder) if _is_folder(entry))


def loose_files(folder: Path) -> list[Path]:
    """The files in `folder` itself that may be data, sorted by name; raises UsageError if it cannot be opened."""
    return sorted(Path(entry.path) for entry in _entries(folder) if not _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself leads nowhere
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_no_data(entry.name)]
    except FileNotFoundError as error:
        raise UsageError(f"there is no folder {folder}.") from error
    except OSError as error:
        raise UsageError(f"cannot look into {folder}: {error.strerror or error}.") from error


def _files_below(folder: Path) -> Iterator[Path]:
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _entries(here):
            if _is_folder(entry):
                waiting.append(Path(entry.path))
            else:
                yield Path(entry.path)


def _is_picture(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES and not (suffix in HEIF_SUFFIXES and reads_heif()):
        return False
    return file.is_file() or not file.exists()  # a link that leads nowhere is a picture that cannot be decoded
