"""A guest teacher is measured on labelled images before it is believed.

One that is no better than chance teaches nonsense, and one whose classes are in another order teaches wrong labels,
both without a sign of it in the losses. So its accuracy is said, and near chance it is refused with the likeliest
reason, which is found by trying: the orders in which other libraries sort classes, and the other usual ways to hand
over pixels.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.markup import escape
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from distill.config import CheckpointTeacher, LogitsTeacher, RunConfig, TrainTeacher
from distill.errors import UsageError
from distill.teachers.teacher import Teacher, TeacherAnswers, resized
from distill.terminal import say
from distill.vision.datasets import Split
from distill.vision.models import IMAGENET, ImageClassifier

SAMPLE = 500
"""Training images that a teacher is measured on, as evenly over the classes as can be."""

SAMPLE_PER_INPUT = 128
"""Of those, as many are asked anew for every other way to hand over pixels."""

FEW = 24
"""With fewer images than these nothing is refused: a coin would be right or wrong for all of them often enough."""

NEAR_CHANCE = 0.15
"""A teacher surely within this share of the way from chance to perfect is refused."""

DOUBTFUL = 0.75
"""Up to this share of the way it is asked anew with other pixels, to see whether it was shown the wrong ones."""

PLAUSIBLE = 0.3
"""A reason is named only if it brings a teacher this share of the way."""

CONVINCING = 0.5
"""An order of classes that no library uses is named only if it surely makes so many answers right."""

LARGEST_ASSIGNMENT = 300
"""Classes up to which any order is looked for, not only known ones."""


@dataclass(frozen=True)
class Accuracy:
    """Mean over the classes of the share of their images that are answered rightly, with a 95 % interval.

    A constant answer has 1 / classes, whatever the classes' sizes.
    """

    mean: float
    low: float
    high: float
    images: int
    chance: float

    @property
    def shown_better_than_chance(self) -> bool:
        """True if its interval lies above chance."""
        return self.low > self.chance

    @property
    def near_chance(self) -> bool:
        """True if its interval lies below what any use begins with."""
        return self.high < self.on_the_way(NEAR_CHANCE)

    def on_the_way(self, share: float) -> float:
        """The accuracy at a share of the way from chance to perfect."""
        return self.chance + share * (1 - self.chance)

    def surely_below(self, other: "Accuracy") -> bool:
        """True if the two intervals leave no doubt."""
        return self.high < other.low


@dataclass(frozen=True)
class Reason:
    """What would make a teacher's answers right.

    Attributes:
        words: the reason, as a sentence without its end.
        remedy: what to do about it.
        accuracy: what the teacher would have.
    """

    words: str
    remedy: str
    accuracy: Accuracy


def judge(config: RunConfig, teacher: Teacher | None, answers: TeacherAnswers, views: Split) -> None:
    """Say how often a guest is right on the training images; refuse one that is no better than chance.

    A guest that answers for every pixel is not measured.

    Args:
        config: the run; `allow_weak_teacher` makes a warning of the refusal.
        teacher: None for none.
        answers: to the training images, from its table or by asking.
        views: the training images at a size that serves the teacher.

    Raises:
        UsageError: it is no better than chance, or its classes are in another order.
    """
    if teacher is None or isinstance(config.teacher, TrainTeacher) or config.task.is_dense:
        return
    chosen = _balanced(views.labels)
    logits = _logits(answers, views, chosen)
    labels, names = views.labels[chosen], views.class_names
    predicted = logits.argmax(dim=1).numpy()
    measured = accuracy(predicted, labels, len(names))
    told = f"teacher {teacher.source}: right for {_percent(measured)} of {measured.images} training images"
    known, any_order = _other_orders(predicted, labels, names, config)
    pixels = None
    if measured.mean < measured.on_the_way(DOUBTFUL):
        pixels = _another_input(config, teacher, views, chosen, measured)
    # Of equally good reasons the commonest.
    reasons = [each for each in (known, pixels, any_order) if each is not None]
    reason = max(reasons, key=lambda each: round(each.accuracy.mean, 2), default=None)
    if reason is None and not measured.near_chance:
        doubt = (
            "" if measured.shown_better_than_chance else f"; chance is {100 * measured.chance:.1f} %, too few to tell"
        )
        say(escape(told + doubt))
        return
    why = (
        f"The likeliest reason: {reason.words}, and {_percent(reason.accuracy)} would be right. {reason.remedy}"
        if reason
        else _no_reason(config)
    )
    message = f"{told} (chance is {100 * measured.chance:.1f} %). {why}"
    believable = measured.shown_better_than_chance and reason in (None, pixels)
    if config.allow_weak_teacher or measured.images < FEW or believable:
        say(escape(message))
        return
    raise UsageError(f"{message} To learn from it all the same, add --allow-weak-teacher.")


def accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> Accuracy:
    """Macro accuracy of predictions int64 [N]; the interval adds one right and one wrong image to every class."""
    totals = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    there = totals > 0
    shares = right[there] / totals[there]
    held = (right[there] + 1) / (totals[there] + 2)
    half = 1.96 * float(np.sqrt((held * (1 - held) / totals[there]).sum())) / int(there.sum())
    mean = float(shares.mean())
    return Accuracy(mean, mean - half, mean + half, len(labels), 1 / num_classes)


def class_orders(names: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The orders in which other libraries sort these classes, each with a description."""
    yield "in natural order, as timm sorts", tuple(sorted(names, key=_natural))
    yield "in alphabetical order whatever the case", tuple(sorted(names, key=str.casefold))
    yield "in alphabetical order", tuple(sorted(names))
    yield "in reverse", tuple(reversed(names))


def _balanced(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of at most `SAMPLE` images, as evenly over the classes as can be, ascending."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = shuffled[labels[shuffled] == label]
        turn[of_class] = np.arange(len(of_class))
    return np.sort(np.lexsort((np.argsort(shuffled), turn))[:SAMPLE])


def _logits(answers: TeacherAnswers, views: Split, chosen: NDArray[np.int64]) -> Tensor:
    if answers.table is not None:
        return answers.table[0, torch.from_numpy(chosen).to(answers.table.device)].float().cpu()
    assert answers.model is not None
    return _asked(answers.model, views, chosen, answers.size_px)


@torch.inference_mode()
def _asked(model: torch.nn.Module, views: Split, chosen: NDArray[np.int64], size_px: int) -> Tensor:
    """Logits float32 [len(chosen), classes] of some of the training images."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    parts = np.array_split(chosen, max(len(chosen) // 64, 1))
    images = (torch.from_numpy(np.asarray(views.images[part])).permute(0, 3, 1, 2) for part in parts)
    return torch.cat([model(resized(batch.to(device).float().div(255), size_px)).float().cpu() for batch in images])


def _other_orders(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...], config: RunConfig
) -> tuple[Reason | None, Reason | None]:
    """The best order that another library uses, and the best of all, where the answers are surely better under it."""
    measured = accuracy(predicted, labels, len(names))
    titles = {order: title for title, order in reversed(list(class_orders(names))) if order != names}
    position = {name: index for index, name in enumerate(names)}

    def best(orders: Iterable[tuple[str, ...]]) -> Reason | None:
        mapped = {order: _mapped(predicted, [position[name] for name in order]) for order in orders}
        would_be = {order: accuracy(classes, labels, len(names)) for order, classes in mapped.items()}
        likely = [order for order, each in would_be.items() if _explains(measured, each)]
        if not likely:
            return None
        order = max(likely, key=lambda each: would_be[each].mean)
        return _order_reason(config, order, names, titles.get(order, "in the order"), would_be[order])

    return best(titles), best(_best_assignment(predicted, labels, names))


def _order_reason(
    config: RunConfig, order: tuple[str, ...], names: tuple[str, ...], title: str, would_be: Accuracy
) -> Reason:
    said = None if isinstance(config.teacher, CheckpointTeacher) else getattr(config.teacher, "class_names", None)
    outputs = [order[names.index(name)] for name in said or names]
    shown = ", ".join(outputs[:12]) + (", …" if len(outputs) > 12 else "")
    words = f"its classes are in another order than the data set's: {title} ({shown})"
    if isinstance(config.teacher, CheckpointTeacher):
        return Reason(words, "Train the teacher again on these pictures.", would_be)
    setting = shlex.quote(f"teacher.class_names={json.dumps(outputs, ensure_ascii=False)}")
    return Reason(words, f"If so, add --set {setting}.", would_be)


def _explains(measured: Accuracy, would_be: Accuracy) -> bool:
    return measured.surely_below(would_be) and would_be.mean >= would_be.on_the_way(PLAUSIBLE)


def _best_assignment(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The order that makes most answers right, if it is a convincing one."""
    if len(names) > LARGEST_ASSIGNMENT:
        return []
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (predicted, labels), 1)
    shares = confusion / np.maximum(confusion.sum(axis=0, keepdims=True), 1)
    mapping = linear_sum_assignment(-shares)[1]
    would_be = accuracy(_mapped(predicted, mapping.tolist()), labels, len(names))
    return [tuple(names[index] for index in mapping)] if would_be.low > CONVINCING else []


def _mapped(predicted: NDArray[np.int64], order: list[int]) -> NDArray[np.int64]:
    return np.asarray(order, dtype=np.int64)[predicted]


def _another_input(
    config: RunConfig, teacher: Teacher, views: Split, chosen: NDArray[np.int64], measured: Accuracy
) -> Reason | None:
    """The usual way to hand over pixels under which the answers are surely better, if there is one."""
    model, preprocess = teacher.model, teacher.preprocess
    if model is None or preprocess is None or isinstance(config.teacher, CheckpointTeacher):
        return None
    same_view = views.images.shape[1:] == (preprocess.size_px, preprocess.size_px, preprocess.channels)
    shown = views if same_view else config.dataset.load("train", preprocess)
    some = np.random.default_rng(0).permutation(chosen)[:SAMPLE_PER_INPUT]
    labels, classes = shown.labels[some], len(shown.class_names)
    ours = model.mean.clone(), model.inverse_std.clone()
    best: Reason | None = None
    try:
        for way in (None, *_inputs()):
            for exchanged in (False, True) if preprocess.channels == 3 else (False,):
                if way is not None:
                    model.mean.copy_(torch.tensor(way.mean).reshape(1, -1, 1, 1))
                    model.inverse_std.copy_(1 / torch.tensor(way.std).reshape(1, -1, 1, 1))
                pixels = _Exchanged(model) if exchanged else model
                logits = _asked(pixels, shown, some, preprocess.size_px)
                would_be = accuracy(logits.argmax(dim=1).numpy(), labels, classes)
                better = best is None or would_be.mean > best.accuracy.mean + 0.02
                if _explains(measured, would_be) and better:
                    best = _input_reason(way, would_be, exchanged=exchanged)
    finally:
        model.mean.copy_(ours[0])
        model.inverse_std.copy_(ours[1])
    return best


class _Exchanged(torch.nn.Module):
    """A network that is shown blue as red and red as blue."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.network(((images - self.model.mean) * self.model.inverse_std).flip(1))


@dataclass(frozen=True)
class _Way:
    """A common way to show pixels to a network: mean and deviation of its three channels, for pixels in [0, 1]."""

    words: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def settings(self) -> str:
        """What to add to the command."""
        settings = (f"teacher.image.{name}={_numbers(getattr(self, name))}" for name in ("mean", "std"))
        return " ".join(f"--set {shlex.quote(setting)}" for setting in settings)


def _inputs() -> tuple[_Way, ...]:
    bytes_std = (1 / 255,) * 3
    return (
        _Way("ImageNet's mean and deviation", IMAGENET.mean, IMAGENET.std),
        _Way("mean and deviation 0.5", (0.5,) * 3, (0.5,) * 3),
        _Way("pixels in [0, 1] as they are", (0.0,) * 3, (1.0,) * 3),
        _Way("pixels in [0, 255]", (0.0,) * 3, bytes_std),
        _Way("pixels in [0, 255] less ImageNet's mean", IMAGENET.mean, bytes_std),
    )


def _numbers(values: tuple[float, ...]) -> str:
    return json.dumps([round(value, 8) for value in dict.fromkeys(values)], separators=(",", ":"))


def _input_reason(way: _Way | None, would_be: Accuracy, *, exchanged: bool) -> Reason:
    pixels = [] if way is None else [way.words]
    also = [] if way is None else [f"add {way.settings}"]
    if exchanged:
        pixels = ["blue before red (BGR, as OpenCV reads)", *pixels]
        also = ["make the file again from a network that begins with images.flip(1)", *also]
    return Reason(f"it expects {' and '.join(pixels)}", f"If so, {' and '.join(also)}.", would_be)


def _no_reason(config: RunConfig) -> str:
    if isinstance(config.teacher, LogitsTeacher):
        return (
            "No other order of the classes explains it. Are the rows in the data set's order, class by class and by "
            "file name within each, and of these very pictures?"
        )
    return (
        "No other order of the classes and no other usual way to hand over pixels explains it. Is it trained, for "
        "these classes, and are its weights the right ones?"
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers by value, the rest by letter whatever the case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _percent(share: Accuracy) -> str:
    return f"{100 * share.mean:.1f} %"
