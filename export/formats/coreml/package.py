"""The last hand on a saved `.mlpackage`: our metadata in, everything that differs between two exports out."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from coremltools.proto import Model_pb2

from export.artifact.mil.package import PACKAGE_MANIFEST, model_file

DEBUG_FILE = "executorch_debug_handle_mapping.json"
"""A debugging aid for models inside ExecuTorch; not a part of the package that Core ML reads."""


def seal(package: Path, metadata: Mapping[str, str]) -> tuple[Path, ...]:
    """Finish a package in place.

    coremltools' own metadata (with the day of the conversion) and its random identifiers are replaced, and the program
    is written with its maps in a fixed order.

    Args:
        package: as `MLModel.save` wrote it.
        metadata: becomes the user-defined metadata of the model.

    Returns:
        Its files relative to the folder that it lies in, the program first.
    """
    program = model_file(package)
    model = cast("Any", Model_pb2.Model())
    model.ParseFromString(program.read_bytes())
    user_defined = model.description.metadata.userDefined
    user_defined.clear()
    user_defined.update(metadata)
    program.write_bytes(model.SerializeToString(deterministic=True))
    _name_entries_by_path(package / PACKAGE_MANIFEST)
    (package / DEBUG_FILE).unlink(missing_ok=True)
    files = sorted((path for path in package.rglob("*") if path.is_file()), key=lambda path: (path != program, path))
    return tuple(path.relative_to(package.parent) for path in files)


def _name_entries_by_path(manifest: Path) -> None:
    content = json.loads(manifest.read_bytes())
    entries = content["itemInfoEntries"]
    names = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])) for old, entry in entries.items()}
    content["itemInfoEntries"] = {names[old]: entry for old, entry in entries.items()}
    content["rootModelIdentifier"] = names[content["rootModelIdentifier"]]
    manifest.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n")
