"""Options of the command as values, checked before any work."""

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from distill.contract import explain
from distill.errors import UsageError
from distill.vision.preprocess import Preprocess
from export.formats import Target
from export.proof.limits import FLOAT_MIN_AGREEMENT

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def refuse_description(options: dict[str, object]) -> None:
    """Raise UsageError for options that describe a network where a checkpoint's card does."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{', '.join(given)}: a checkpoint's card says this itself; use it with --model only.")


def refuse_unused(targets: Sequence[Target], recipe: object, pictures: object, *, has_training: bool) -> None:
    """Raise UsageError for settings that change none of the targets."""
    if recipe is not None and all(target.precision in FLOAT_MIN_AGREEMENT for target in targets):
        raise UsageError("--recipe has no effect: nothing that was asked for is quantized. Leave it out.")
    if pictures is not None and has_training and not any(target.calibrated for target in targets):
        raise UsageError("--calibration-folder has no effect: nothing that was asked for is calibrated. Leave it out.")


def as_preprocess(
    size: int | None, channels: int | None, resize: str | None, mean: str | None, std: str | None
) -> Preprocess:
    """The input of the user's own network; raises UsageError for values that make no sense."""
    grey = channels == 1
    values = {
        "size_px": size or 224,
        "channels": channels or 3,
        "resize": resize or "stretch",
        "mean": numbers("--mean", mean) if mean else (0.5,) if grey else IMAGENET_MEAN,
        "std": numbers("--std", std) if std else (0.5,) if grey else IMAGENET_STD,
    }
    try:
        return Preprocess.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"the network's input cannot be like this: {explain(error)}.") from error


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Finite numbers separated by commas; raises UsageError naming the option."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: expected numbers separated by commas, e.g. 0.5,0.5,0.5.") from error
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{option} {text!r}: expected finite numbers.")
    return values


def positive(temperature: float) -> float:
    """A usable temperature; raises UsageError otherwise."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"--temperature {temperature}: expected a finite number above 0; 1 changes nothing.")
    return temperature


def read_recipe(path: Path) -> dict[str, JsonValue]:
    """A quantization recipe from a JSON file, checked; raises UsageError."""
    from export.quantize.recipe import QuantizationRecipe

    try:
        return QuantizationRecipe.model_validate_json(path.read_bytes()).as_json()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        raise UsageError(f"{path} is not a quantization recipe: {explain(error)}.") from error


def run_name(folder: Path) -> str:
    """Name of the run a checkpoint folder belongs to: `best` and `last` lie inside it."""
    folder = folder.resolve()
    return folder.parent.name if folder.name in ("best", "last") else folder.name
