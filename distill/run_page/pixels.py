"""What the page of a run shows where every pixel is answered: classes by their IoU, and the worst pictures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from distill.checkpoint import Card, Judgement, SegmentationMetrics
from distill.data_page.page import data_uri
from distill.evaluation.dense import tally_for
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier
from distill.vision.painting import (
    MASK_TWENTIETHS,
    UNKNOWN_GREY,
    class_colour,
    class_colours,
    depth_colours,
    over,
    paint_depths,
    scale_end_m,
)
from distill.vision.tasks import IGNORED, TASKS, UNKNOWN_DEPTH, TaskName

LOOKED_AT = 200
SHOWN = 12
SIDE_PX = 112


@dataclass(frozen=True)
class Picture:
    """Picture, truth and answer side by side, as a data URI, and how good the answer is."""

    quality: str
    name: str
    source: str


@dataclass(frozen=True)
class ClassRow:
    """One class in words."""

    name: str
    colour: str
    iou: str
    width: str
    recall: str
    pixels: str
    taken_for: str


def class_rows(card: Card, judgement: Judgement) -> list[ClassRow]:
    """Every class, that of the lowest IoU first; empty where pixels have no classes."""
    metrics = judgement.metrics
    if not isinstance(metrics, SegmentationMetrics):
        return []
    shares = metrics.class_iou
    order = sorted(range(len(shares)), key=lambda label: (shares[label] is None, shares[label] or 0.0))
    return [_class_row(card, judgement, label, shares[label]) for label in order]


def _class_row(card: Card, judgement: Judgement, label: int, share: float | None) -> ClassRow:
    taken_for, recall = judgement.taken_for(label), judgement.recall(label)
    return ClassRow(
        name=card.class_names[label],
        colour="#{:02x}{:02x}{:02x}".format(*class_colour(label)),
        iou="–" if share is None else f"{100 * share:.1f} %",
        width=f"{100 * (share or 0):.1f}",
        recall="–" if recall is None else f"{100 * recall:.1f} %",
        pixels=f"{judgement.images[label]:,}",
        taken_for="" if taken_for is None else f"{card.class_names[taken_for[0]]} ({taken_for[1]:,})",
    )


@torch.inference_mode()
def worst_pictures(model: ImageClassifier, card: Card, split: Split) -> list[Picture]:
    """Of the first validation images those that are answered worst, the worst first."""
    positions = np.arange(min(LOOKED_AT, len(split)))
    some, measure = split.take(positions), TASKS[card.task].measure
    assert some.truth is not None
    truth = np.asarray(some.truth[positions])
    found: list[tuple[float, int, NDArray[np.float32]]] = []
    for number, image in enumerate(np.asarray(some.images)):
        answer = model(torch.from_numpy(card.preprocess.to_input(image[None]))).float()
        tally = tally_for(split)
        known = torch.from_numpy(truth[number : number + 1])
        tally.add(answer, known if known.is_floating_point() else known.long())
        quality = tally.judgement(epoch=1, split="validation").metrics.quality
        found.append((quality, number, answer[0].numpy()))
    found.sort(key=lambda each: measure.score(each[0]))
    painted = PAINTED[card.task]
    return [
        Picture(
            f"{measure.title} {measure.shown(quality)}",
            "" if some.names is None else some.names[number],
            data_uri(_side_by_side(painted(np.asarray(some.images)[number], truth[number], answer))),
        )
        for quality, number, answer in found[:SHOWN]
    ]


Planes = Iterator[NDArray[np.uint8]]


def _masks(image: NDArray[np.uint8], truth: NDArray[np.uint8], logits: NDArray[np.float32]) -> Planes:
    """The picture, and the colours of its classes over it: RGB, three times."""
    grey = np.broadcast_to(image, (*image.shape[:2], 3))
    palette = class_colours(len(logits))
    yield grey
    for classes in (truth, logits.argmax(axis=0)):
        colours = palette[np.minimum(classes, len(logits) - 1)]
        colours[classes == IGNORED] = UNKNOWN_GREY
        yield over(grey, colours, MASK_TWENTIETHS)


def _depths(image: NDArray[np.uint8], truth: NDArray[np.float32], depth: NDArray[np.float32]) -> Planes:
    """The picture, and both depth maps on one scale: RGB, three times."""
    end_m, colours = scale_end_m(truth), depth_colours()
    yield np.broadcast_to(image, (*image.shape[:2], 3))
    for metres in (truth, depth[0]):
        yield paint_depths(np.where(metres == UNKNOWN_DEPTH, np.nan, metres), end_m, colours)


PAINTED: dict[TaskName, Callable[[NDArray[np.uint8], NDArray[Any], NDArray[np.float32]], Planes]] = {
    "segmentation": _masks,
    "depth": _depths,
}
"""Picture, what is true and what is answered -> three pictures."""

READING: dict[TaskName, str] = {
    "segmentation": "The colours are those of the table; grey is not known. A wrong mask looks as a wrong answer does.",
    "depth": "Near is yellow, far is violet. The two maps of a picture have one scale; grey is not known.",
}


def _side_by_side(planes: Planes) -> Image.Image:
    pictures = [Image.fromarray(plane).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST) for plane in planes]
    whole = Image.new("RGB", (SIDE_PX * len(pictures), SIDE_PX))
    for number, picture in enumerate(pictures):
        whole.paste(picture, (SIDE_PX * number, 0))
    return whole
