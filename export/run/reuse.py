"""An artifact whose inputs are unchanged is not made again: `inputs_sha256` says what it was made from.

Nothing here imports torch or reads a data set: a run with nothing to do ends in a second. The data are known by the
hashes in the card, so a change of the data on disk is noticed when something is made, not before.
"""

import importlib.util
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from distill.checkpoint import Card
from distill.contract import sha256_of_file, sha256_of_json
from distill.errors import UsageError
from distill.vision.factory import FOLDED, PREFIX
from export.artifact.manifest import FormatName, Manifest, read_artifact
from export.artifact.runner import RUNNERS
from export.formats import FORMATS, Target
from export.proof.limits import FLOAT_MIN_AGREEMENT
from export.run.sources import sources_sha256

ALWAYS = ("numpy", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class Settings:
    """What the user chose that decides what every artifact of one command is, or what is said of it.

    Attributes:
        parity_images, calibration_images: how many at most.
        seed: chooses both.
        folder_sha256: identity of the user's own pictures; None without.
        recipe: the quantizer's settings; None = the exporters' own.
        low_resolution: answers for every pixel are not enlarged to the picture's size.
    """

    parity_images: int
    calibration_images: int
    seed: int
    folder_sha256: str | None
    recipe: dict[str, JsonValue] | None
    low_resolution: bool = False


def inputs_sha256(card: Card, target: Target, settings: Settings) -> str:
    """Identity of everything an artifact is made from: model, target, images, packages, our own code, the machine.

    Args:
        card: with the temperature that will be in the graph.
        target: format, precision and batch.
        settings: of the command.
    """
    folder_counts = settings.folder_sha256 is not None and (target.calibrated or card.training is None)
    return sha256_of_json(
        {
            "card": _identity(card),
            "network": _source_of_network(card.model),
            "target": [target.format, target.precision, target.batch],
            "seed": settings.seed,
            "parity_images": settings.parity_images,
            "calibration_images": settings.calibration_images if target.calibrated or folder_counts else None,
            "folder": settings.folder_sha256 if folder_counts else None,
            "recipe": None if target.precision in FLOAT_MIN_AGREEMENT else settings.recipe,
            "packages": {name: version(name) for name in _distributions(target)},
            "code": _code_sha256(target.format),
            "machine": [platform.system(), platform.machine(), sys.version],
            # Not there otherwise, so that what was made before it could be asked for is still known.
            **({"low_resolution": True} if settings.low_resolution else {}),
        }
    )


def unchanged(folder: Path, inputs: str) -> Manifest | None:
    """The manifest of an artifact that was made from these inputs and is whole, else None."""
    try:
        manifest = read_artifact(folder)
    except UsageError:
        return None
    return manifest if manifest.inputs_sha256 == inputs else None


def refused_before(refusal: Path, inputs: str) -> Manifest | None:
    """What the artifact would have said of itself, if one made from these inputs was refused, else None."""
    if not refusal.is_file():
        return None
    try:
        manifest = Manifest.read(refusal)
    except UsageError:
        return None
    return manifest if manifest.inputs_sha256 == inputs else None


def _identity(card: Card) -> dict[str, JsonValue]:
    """What an artifact or its manifest takes from the card."""
    training = card.training
    fields = {"model", "class_names", "preprocess", "temperature", "num_parameters", "weights_sha256"}
    identity = card.model_dump(mode="json", include=fields)
    if training is not None:
        identity["training"] = training.model_dump(mode="json", include={"method", "teacher_sha256", "data"})
    return identity


def _distributions(target: Target) -> list[str]:
    return sorted({*ALWAYS, *(package.replace("_", "-") for package in FORMATS[target.format].packages)})


@cache
def _code_sha256(name: FormatName) -> str:
    runner = RUNNERS.get(name)
    modules = ["export.convert", "export.run.worker", FORMATS[name].module, *([runner.module] if runner else [])]
    return sources_sha256(modules)


@cache
def _source_of_network(model: str) -> str | None:
    """Hash of the file of a network that the user wrote; what that file imports is not looked at."""
    model = model.removeprefix(FOLDED)
    if not model.startswith(PREFIX):
        return None
    module = model.removeprefix(PREFIX).partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return sha256_of_file(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else None
