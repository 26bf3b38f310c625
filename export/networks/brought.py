"""A network from elsewhere becomes a checkpoint, after everything that could be wrong with it was looked at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape

from distill import checkpoint
from distill.errors import UsageError
from distill.terminal import say
from distill.vision.factory import PREFIX
from distill.vision.models import MODELS, ImageClassifier, build
from distill.vision.preprocess import Preprocess
from distill.vision.weights import fill, read_weights

LIBRARIES = ("timm:", "torchvision:")
SHOWN = 3
"""So many names that classes share are listed."""


@dataclass(frozen=True)
class Brought:
    """What the user says of a network.

    Attributes:
        model: `package.module:factory`, `timm:NAME`, `torchvision:NAME` or a name of ours.
        weights: `.safetensors`, or a `.pth` that holds tensors only.
        labels: text file with one class name per line, in the order of the logits.
        preprocess: size, channels, mean and std of its input.
    """

    model: str
    weights: Path
    labels: Path
    preprocess: Preprocess


def make_checkpoint(brought: Brought, folder: Path) -> None:
    """Write the network as a checkpoint without training data into `folder`.

    Raises:
        UsageError: an unknown network, a factory that fails, labels that are empty or repeat, weights that do not fit,
            or a network that does not answer an image of this size with one finite logit per label.
        WorkFailed: full disk or unwritable folder.
    """
    name = full_name(brought.model)
    class_names = read_labels(brought.labels)
    if not brought.weights.is_file():
        raise UsageError(f"--weights {brought.weights}: there is no such file.")
    weights = read_weights(brought.weights)
    model = build(name, num_classes=len(class_names), preprocess=brought.preprocess).eval()
    require_as_many_classes(model, brought, len(class_names))
    fill(model.network, weights, source=brought.weights, name=f"{brought.model} with {len(class_names)} labels")
    require_finite(model, brought)
    checkpoint.save(folder, model, name=name, class_names=class_names, preprocess=brought.preprocess, training=None)


def full_name(model: str) -> str:
    """The name under which `distill.vision.models` builds it again."""
    known = model in MODELS or model.startswith((*LIBRARIES, PREFIX))
    return model if known or ":" not in model else PREFIX + model


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one per line. One that two classes share is kept, and said: ImageNet has cranes and cranes.

    Raises:
        UsageError: no such file, not UTF-8, fewer than two names, or an empty line between names.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").strip("\r\n").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path} cannot be read: {error}. Expected UTF-8 text, one name per line.") from error
    names = [line.strip() for line in lines]
    if "" in names:
        raise UsageError(f"--labels {path}: line {names.index('') + 1} is empty; every line names one class.")
    if len(names) < 2:
        raise UsageError(f"--labels {path} has {len(names)} name(s); a classifier needs at least two.")
    lines_of: dict[str, list[str]] = {}
    for number, name in enumerate(names, 1):
        lines_of.setdefault(name, []).append(str(number))
    shared = [f"{name} (lines {', '.join(numbers)})" for name, numbers in lines_of.items() if len(numbers) > 1]
    if shared:
        more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
        say(escape(f"{path}: classes share a name: {', '.join(shared[:SHOWN])}{more}; they stay classes of their own"))
    return tuple(names)


def require_as_many_classes(model: ImageClassifier, brought: Brought, num_labels: int) -> None:
    """Raise UsageError unless the network turns an image of the size that was named into one logit per label."""
    shape = list(answer(model, brought).shape)
    if shape != [1, num_labels]:
        raise UsageError(
            f"{brought.model} answers one image with {shape}, but {brought.labels} names {num_labels} classes: "
            f"expected [1, {num_labels}]. Give as many labels as the network has classes, in its order."
        )


def require_finite(model: ImageClassifier, brought: Brought) -> None:
    """Raise UsageError if the weights make anything but finite logits of a plain image."""
    if not np.isfinite(answer(model, brought).numpy()).all():
        raise UsageError(f"{brought.weights} makes {brought.model} answer NaN or infinity. The weights are broken.")


def answer(model: ImageClassifier, brought: Brought) -> torch.Tensor:
    """What the network says of one grey image; raises UsageError in the network's own words if it fails."""
    image = torch.full((1, *brought.preprocess.input_shape), 0.5)
    try:
        with torch.inference_mode():
            output = model(image)
    except Exception as error:
        size = brought.preprocess.size_px
        raise UsageError(
            f"{brought.model} fails on a 3x{size}x{size} image: {type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), 'no message')} Is --size right?"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise UsageError(f"{brought.model} returns {type(output).__name__}; expected one tensor of logits.")
    return output
