"""Options of the command as values, checked before any work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError
from rich.markup import escape

from distill.contract import explain
from distill.errors import UsageError
from distill.terminal import say
from distill.vision.preprocess import Preprocess
from export.formats import Target
from export.proof.limits import FLOAT_MIN_AGREEMENT

if TYPE_CHECKING:  # a checkpoint's card says all this; torch is imported where it does not
    from distill.vision.models import PublishedInput

LIBRARIES = ("timm", "torchvision")


def refuse_description(options: dict[str, object]) -> None:
    """Raise UsageError for options that describe a network where a checkpoint's card does."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{', '.join(given)}: a checkpoint's card says this itself; use it with --model only.")


def refuse_unused(targets: Sequence[Target], recipe: object, pictures: object, *, has_training: bool) -> None:
    """Raise UsageError for settings that change none of the targets."""
    if recipe is not None and all(target.precision in FLOAT_MIN_AGREEMENT for target in targets):
        raise UsageError("--recipe has no effect: nothing that was asked for is quantized. Leave it out.")
    if pictures is not None and has_training and not any(target.calibrated for target in targets):
        raise UsageError("--calibration-folder has no effect: nothing that was asked for is calibrated. Leave it out.")


@dataclass(frozen=True)
class Described:
    """What the user says of a network's input; None for what its library publishes, or what is usual.

    Attributes:
        crop_share: of `Preprocess`.
        mean, std: as they were typed.
    """

    size: int | None = None
    channels: int | None = None
    resize: str | None = None
    crop_share: float | None = None
    interpolation: str | None = None
    mean: str | None = None
    std: str | None = None


def as_preprocess(model: str, asked: Described) -> Preprocess:
    """The input of the user's own network, and a line about what of it was not asked for.

    That is as the network's library publishes it, with the crop and interpolation that its weights are judged by, or
    CIFAR's for the small networks that are made for it; ImageNet's usual one for a network of the user's own, or half
    and half if that is grey.

    Raises:
        UsageError: values that make no sense, or a library without such a network.
    """
    published = _published(model, is_grey=asked.channels == 1)
    resize = asked.resize or ("stretch" if published.crop_share is None else "crop")
    values = {
        "size_px": asked.size or published.size_px,
        "channels": asked.channels or 3,
        "resize": resize,
        "crop_share": asked.crop_share or (published.crop_share if resize == "crop" else None),
        "interpolation": asked.interpolation or published.interpolation,
        "mean": numbers("--mean", asked.mean) if asked.mean else published.mean,
        "std": numbers("--std", asked.std) if asked.std else published.std,
    }
    try:
        preprocess = Preprocess.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"the network's input cannot be like this: {explain(error)}.") from error
    unsaid = [name for name in ("size", "mean", "std") if not getattr(asked, name)]
    whose = "as published" if _library(model) else "as usual"
    sees, deviates = (" ".join(f"{value:.4g}" for value in numbers) for numbers in (preprocess.mean, preprocess.std))
    note = f" ({', '.join(unsaid)} {whose}; --size, --mean and --std set others)" if unsaid else ""
    say(escape(f"{model} sees {preprocess.size_px} px, mean {sees}, std {deviates}{note}"))
    if published.crop_share is not None:
        say(escape(f"{model} sees {_cut_in_words(preprocess)}"))
    return preprocess


def _cut_in_words(preprocess: Preprocess) -> str:
    if preprocess.resize == "stretch":
        return f"the whole picture, resized {preprocess.interpolation}"
    share = 100 * (preprocess.crop_share or 1)
    return (
        f"{share:.3g} % of a picture's centre square, resized {preprocess.interpolation} "
        "(--crop-share and --interpolation set others, --resize stretch takes the whole picture)"
    )


def _library(model: str) -> bool:
    return model.partition(":")[0] in LIBRARIES


def _published(model: str, *, is_grey: bool) -> "PublishedInput":
    """What a network sees if nothing else is said; grey pictures are normalised as the mean of three channels is."""
    from distill.vision.models import IMAGENET, MODELS, PublishedInput, builder, published_input

    if model not in MODELS and not _library(model):
        return PublishedInput(IMAGENET.size_px, (0.5,), (0.5,)) if is_grey else IMAGENET
    builder(model)
    published = published_input(model)
    if not is_grey:
        return published
    mean, std = (sum(values) / len(values) for values in (published.mean, published.std))
    return replace(published, mean=(mean,), std=(std,))


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
