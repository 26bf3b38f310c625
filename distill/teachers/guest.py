"""A network from elsewhere is tried on a few images, and made to answer as ours do: one row of logits per image.

What can be put right is, and said: a tuple or dictionary around the logits, half precision, a fixed batch,
probabilities, a single output. What cannot is refused with the reason: answers that change from call to call or with
the other images of the batch, another number of classes, NaN.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.datasets.folder_tree import readable_name
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 3, 5, 6, 10, 12, 20, 24, 48, 50, 100)
"""Sizes that a program which refuses others may have been made for, in the order they are tried."""

MANY = 8
"""As many images as a network without a batch of its own is tried on."""

LOGIT_NAMES = ("logits", "logit", "out", "output", "prediction", "predictions", "scores", "head")
"""Under which a dictionary holds its logits, the likeliest first."""

LEAST_PROBABILITY = 1e-7

SUM_TOLERANCE = 5e-3
"""Of probabilities in half precision."""

LIKELY, UNLIKELY = 0.7, 0.3
"""Answers to many pictures that reach from here to there, and never beyond 0 and 1, are no logits."""

Scale = Literal["logits", "probabilities", "percentages", "one logit", "one probability", "a probability each"]


@dataclass(frozen=True)
class Manner:
    """How a guest is asked and what its answer means.

    Attributes:
        dtype: of the images it takes.
        grey: it takes one channel.
        batch: the only number of images it takes; None for any.
        least: the smallest number of images it takes.
        place: where among what it returns the logits are: keys of dictionaries, positions in tuples.
        ndim: how many dimensions they have there.
        scale: what its numbers are.
        order: position of each class of the data set among its outputs; None for the same order.
    """

    dtype: torch.dtype = torch.float32
    grey: bool = False
    batch: int | None = None
    least: int = 1
    place: tuple[str | int, ...] = ()
    ndim: int = 2
    scale: Scale = "logits"
    order: tuple[int, ...] | None = None

    def as_json(self) -> list[object]:
        """What decides its answers, for a hash."""
        return [str(self.dtype), self.batch, list(self.place), self.scale, self.order]


class Guest(nn.Module):
    """A network asked in its own manner: normalised images float32 [B, 3, H, W] -> logits float32 [B, classes]."""

    def __init__(self, network: nn.Module, manner: Manner) -> None:
        super().__init__()
        self.network = network
        self.manner = manner

    def forward(self, images: Tensor) -> Tensor:
        """Ask in batches of the right size, the last filled up with its last image."""
        images = images[:, :1] if self.manner.grey else images
        parts = images.split(self.manner.batch or max(len(images), 1))
        answers = torch.cat([self._ask(part.to(self.manner.dtype)) for part in parts])
        logits = as_logits(answers, self.manner.scale)
        return logits if self.manner.order is None else logits[:, list(self.manner.order)]

    def _ask(self, images: Tensor) -> Tensor:
        missing = (self.manner.batch or self.manner.least) - len(images)
        full = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else images
        output = self.network(full)
        for step in self.manner.place:
            output = output[step]
        return rows(output)[: len(images)].float()


def tried(
    model: ImageClassifier,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    *,
    source: str,
    pictures: Tensor | None = None,
    own_order: tuple[str, ...] | None = None,
) -> tuple[ImageClassifier, Manner, list[str]]:
    """A model that answers images in [0, 1] with one finite logit per class of the data set, whatever it is inside.

    Args:
        model: normalisation and the guest's network, in eval mode, on the CPU.
        preprocess: what it sees.
        class_names: of the data set, in its order.
        source: names the guest in errors.
        pictures: float32 [N, C, H, W] of the data set in [0, 1], to try it on beside noise; None for noise alone.
        own_order: the classes in the order of the guest's outputs; None for the data set's order.

    Returns:
        The model (the same object if nothing had to be done), how it is asked, and what was done, in sentences.

    Raises:
        UsageError: it cannot be asked, or its answers cannot be used.
    """
    normalised = _normalised(model, _probes(preprocess, pictures))
    with torch.inference_mode():
        manner, notes = _manner(model.network, normalised, preprocess, len(class_names), source)
        first = Guest(model.network, manner)
        answers = first(normalised)
        _require_steady(first, normalised, answers, source)
    _require_finite(answers, source)
    scale = scale_of(answers)
    manner = replace(manner, scale=scale, order=own_order and order_among(own_order, class_names))
    if manner != Manner():
        model.network = Guest(model.network, manner)
    return model, manner, notes + scale_notes(scale, class_names)


def as_logits(answers: Tensor, scale: Scale) -> Tensor:
    """What a guest answers, float32 [B, K], as logits [B, classes] with the same softmax.

    A probability is held at 1e-7 or more. A single output speaks for the second class. Of probabilities that each class
    has for itself, as sigmoids give, what went into the sigmoids is taken.
    """
    match scale:
        case "logits":
            return answers
        case "probabilities":
            return answers.clamp_min(LEAST_PROBABILITY).log()
        case "percentages":
            return (answers / 100).clamp_min(LEAST_PROBABILITY).log()
        case "a probability each":
            return answers.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY).logit()
        case "one logit":
            return torch.cat([torch.zeros_like(answers), answers], dim=1)
        case "one probability":
            held = answers.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
            return torch.cat([(1 - held).log(), held.log()], dim=1)


def scale_of(answers: Tensor) -> Scale:
    """What answers float32 [N, K] are, by their values."""
    within = bool(((answers >= 0) & (answers <= 1)).all())
    if answers.shape[1] == 1:
        return "one probability" if within else "one logit"

    def sum_to(whole: float) -> bool:
        return bool(((answers.sum(dim=1) - whole).abs() < SUM_TOLERANCE * whole).all())

    if within and sum_to(1):
        return "probabilities"
    if within and answers.max() > LIKELY and answers.min() < UNLIKELY:
        return "a probability each"
    return "percentages" if bool((answers >= 0).all()) and sum_to(100) else "logits"


def scale_notes(scale: Scale, class_names: tuple[str, ...]) -> list[str]:
    """How answers that are no logits are read, in a sentence."""
    match scale:
        case "logits":
            return []
        case "probabilities":
            return ["its answers are probabilities; their logarithms are taken as logits"]
        case "percentages":
            return ["its answers are percentages; the logarithms of the probabilities are taken as logits"]
        case "a probability each":
            return ["its answers are probabilities that each class has for itself; their logits are taken"]
        case "one probability":
            return [f"its single output is taken as the probability of {class_names[1]!r}; two classes are made of it"]
        case "one logit":
            return [f"its single output is taken as the logit of {class_names[1]!r}; two classes are made of it"]


def order_among(own_order: tuple[str, ...], class_names: tuple[str, ...]) -> tuple[int, ...]:
    """Position of each class of the data set in a teacher's own order; raises UsageError if the names differ."""
    own_order = tuple(readable_name(name) for name in own_order)
    if sorted(own_order) != sorted(class_names):
        raise UsageError(
            f"teacher.class_names are {', '.join(own_order)}, the data set has {', '.join(class_names)}. They must be "
            "the same names, in the order of the teacher's outputs."
        )
    return tuple(own_order.index(name) for name in class_names)


def rows(tensor: Tensor) -> Tensor:
    """One row per image: [B] and [B, K, 1, 1] as [B, K]."""
    return tensor.unsqueeze(1) if tensor.ndim == 1 else tensor.flatten(1)


def last_words(error: Exception) -> str:
    """What went wrong, in one line; TorchScript says it last, after the program's lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    told = lines[-1] if "TorchScript" in lines[0] else lines[0]
    return told.removeprefix("RuntimeError: ").partition(" This is an internal miniz error")[0][:300].rstrip(".")


def _probes(preprocess: Preprocess, pictures: Tensor | None) -> Tensor:
    """Coarse noise of several contrasts, and pictures if there are any: float32 [N, C, size, size] in [0, 1]."""
    channels, size, _ = preprocess.input_shape
    noise = torch.rand(MANY, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    contrast = torch.linspace(0.2, 1, MANY).reshape(-1, 1, 1, 1)
    coarse = F.interpolate(noise * contrast, (size, size), mode="bilinear")
    return coarse if pictures is None else torch.cat([coarse, pictures])


def _normalised(model: ImageClassifier, images: Tensor) -> Tensor:
    return (images - model.mean) * model.inverse_std


def _manner(
    network: nn.Module, images: Tensor, preprocess: Preprocess, num_classes: int, source: str
) -> tuple[Manner, list[str]]:
    """How the network can be asked at all, and what is unusual about it."""
    failures: list[str] = []
    for dtype in dict.fromkeys((torch.float32, *_dtypes(network))):
        for grey in (False, True) if preprocess.channels == 1 else (False,):
            asked = (images[:, :1] if grey else images).to(dtype)
            batch, least, output = _batch(network, asked, failures)
            if output is None:
                continue
            place, ndim, notes = _place(output, batch or MANY, num_classes, source)
            if dtype != torch.float32:
                notes.append(f"it computes in {str(dtype).removeprefix('torch.')} and is asked so")
            if batch is not None:
                notes.append(f"it takes {batch} image(s) at a time and is asked so")
            return Manner(dtype=dtype, grey=grey, batch=batch, least=least, place=place, ndim=ndim), notes
    channels = 1 if preprocess.channels == 1 else 3
    size = preprocess.size_px
    raise UsageError(
        f"{source} fails on images of {channels}x{size}x{size}: {failures[0]}. Is teacher.image.size_px right, and is "
        "it a classifier that takes nothing but images?"
    )


def _dtypes(network: nn.Module) -> Iterator[torch.dtype]:
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            yield tensor.dtype


def _batch(network: nn.Module, images: Tensor, failures: list[str]) -> tuple[int | None, int, object]:
    """The only and the smallest number of images that it takes, and what it answers to the only one or to many."""

    def answer(count: int) -> object:
        try:
            output = network(images[torch.arange(count) % len(images)])
        except Exception as error:  # a program from elsewhere may raise anything
            failures.append(f"{type(error).__name__}: {last_words(error)}")
            return None
        return output if any(len(tensor) == count for _, tensor in _tensors(output) if tensor.ndim) else None

    many = answer(MANY)
    if many is not None and answer(MANY - 3) is not None:
        return None, next((count for count in (1, 2) if answer(count) is not None), MANY - 3), many
    for count in BATCHES:
        output = answer(count)
        if output is not None:
            return count, count, output
    if not failures:
        failures.append("its answer does not have one row per image")
    return None, 1, None


def _tensors(output: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, (*place, key))
    elif isinstance(output, tuple | list):
        for position, value in enumerate(output):
            yield from _tensors(value, (*place, position))


def _place(output: object, count: int, num_classes: int, source: str) -> tuple[tuple[str | int, ...], int, list[str]]:
    """Where the logits are in what a network returns, their dimensions, and a sentence if that is not all of it."""
    everything = list(_tensors(output))
    tensors = [(place, tensor) for place, tensor in everything if tensor.ndim and len(tensor) == count]
    widths = (num_classes, 1) if num_classes == 2 else (num_classes,)
    fitting = [(place, each) for place, each in tensors if each.is_floating_point() and rows(each).shape[1] in widths]
    if not fitting:
        shapes = ", ".join(f"{list(rows(tensor).shape[1:])} of {tensor.dtype}" for _, tensor in tensors)
        raise UsageError(
            f"{source} answers each image with {shapes.replace('torch.', '')}; expected {num_classes} logits, one per "
            "class of the data set. Bring a network that was trained for these classes."
        )
    named = {name: position for position, (place, _) in reversed(list(enumerate(fitting))) for name in place}
    place, tensor = fitting[next((named[name] for name in LOGIT_NAMES if name in named), 0)]
    if not place:
        return place, tensor.ndim, []
    where = " of ".join(repr(step) if isinstance(step, str) else f"part {step + 1}" for step in reversed(place))
    among = f", one of {len(everything)} tensors" if len(everything) > 1 else ""
    return place, tensor.ndim, [f"its logits are taken from {where} of what it returns{among}"]


def _require_steady(ask: Callable[[Tensor], Tensor], images: Tensor, answers: Tensor, source: str) -> None:
    """Raise UsageError if answers change from call to call or with the other images of a batch."""
    exact = isinstance(ask, Guest) and ask.manner.dtype in (torch.float32, torch.float64)
    tolerance = (1e-3 if exact else 3e-2) * answers.abs().max() + 1e-6
    remedy = "Call model.eval() before it is traced or exported, and make the file again."

    def far(left: Tensor, right: Tensor) -> bool:
        return bool(((left - right).abs() > tolerance).any())

    if far(ask(images), answers):
        raise UsageError(
            f"{source} answers the same picture differently when it is asked twice: something in it, such as dropout "
            f"in train mode, works by chance. {remedy}"
        )
    alone = torch.cat([ask(images[index : index + 1]) for index in range(min(len(images), 3))])
    if far(alone, answers[: len(alone)]):
        raise UsageError(
            f"{source} answers a picture alone otherwise than beside others in a batch (first output "
            f"{alone[0, 0]:.3g} and {answers[0, 0]:.3g}), as batch normalisation in train mode does. {remedy}"
        )


def _require_finite(answers: Tensor, source: str) -> None:
    broken = int((~torch.isfinite(answers)).any(dim=1).sum())
    if broken:
        raise UsageError(
            f"the teacher {source} answers NaN or infinity to {broken} of {len(answers)} images. Its weights are "
            "broken, or its numbers are too large for its precision; nothing can be learnt from it."
        )
