"""The folder `.mlpackage`: where its program and weights lie, read from its own Manifest.json. Nothing outside it."""

import json
from pathlib import Path
from typing import Any, cast

from distill.errors import UsageError

PACKAGE_MANIFEST = "Manifest.json"
DATA_FOLDER = "Data"


def model_file(package: Path) -> Path:
    """The protobuf file of a package.

    Raises:
        UsageError: no readable manifest, or it names a file that is not there or lies outside.
    """
    entries, root = _entries(package)
    try:
        path = entries[root]["path"]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{package / PACKAGE_MANIFEST} names no root model. Export it again.") from error
    return inside(package / DATA_FOLDER, path)


def inside(folder: Path, name: object) -> Path:
    """A file that must lie inside a folder, links followed.

    Raises:
        UsageError: it is not there, or outside.
    """
    path = folder / name if isinstance(name, str) and name and "\0" not in name else None
    if path is None or not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{folder} refers to {name!r}, which is not a file inside it; it will not be opened.")
    if not path.is_file():
        raise UsageError(f"{folder} is incomplete: {name} is not there. Export the model again.")
    return path


def _entries(package: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Entries by identifier, and the identifier of the model."""
    path = package / PACKAGE_MANIFEST
    try:
        content = cast("Any", json.loads(path.read_bytes()))
        return content["itemInfoEntries"], content["rootModelIdentifier"]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}. Is it an .mlpackage folder?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the manifest of an .mlpackage ({error}). Export the model again.") from error
