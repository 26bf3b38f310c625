"""Evidence: the held-out images that every artifact of one export is judged on, eager's logits, calibration images.

Gathered once by the command, then read by each worker.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from distill.checkpoint import Card, Checkpoint
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS, TaskName
from export.artifact.runner import Batch
from export.proof.logits import why_not_exercised
from export.proof.made_images import synthetic_images
from export.proof.steadiness import PROBES, require_steady
from export.quantize.calibration import CalibrationSet, PictureFolder, from_training
from export.quantize.kept import Kept

EAGER_BATCH = 32

MOST_OF_PIXELS, MOST_NUMBERS = 128, 2**26
"""Held-out images of which every pixel is answered: so many, or more while all answers together have fewer numbers."""

_further = Kept["HeldOut | None"]()

ImagesSource = Literal["held-out", "folder", "synthetic"]


@dataclass(frozen=True)
class HeldOut:
    """Images no weight was fitted to, and what eager PyTorch says of them.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size.
        labels: int64 [N]; what is true of every pixel where that is asked: classes uint8 [N, H, W] or metres float32
            [N, H, W]; None if the checkpoint knows no data.
        eager_logits: float32 [N, classes], or of every pixel [N, outputs, H, W].
        source: `held-out` from the checkpoint's data, the user's `folder`, or `synthetic`.
        seed: orders the validation images, of which these are the first; None if they are others.
        data_sha256: identity of those validation images; None if these are others.
        num_made: the last so many are no pictures of the source, but made to exercise the network.
        task: what is answered.
    """

    images: NDArray[np.uint8]
    labels: NDArray[Any] | None
    eager_logits: Batch
    source: ImagesSource
    seed: int | None = None
    data_sha256: str | None = None
    num_made: int = 0
    task: TaskName = "classification"

    @property
    def order_sha256(self) -> str | None:
        """Identity of the validation images and the order they are taken in; None if these are others."""
        if self.data_sha256 is None:
            return None
        return hashlib.sha256(f"{self.data_sha256} {self.seed}".encode()).hexdigest()

    def without_made(self) -> "HeldOut":
        """Only pictures of the source: what was made to exercise the network tells nothing of a quantized one."""
        if not self.num_made:
            return self
        images, logits = self.images[: -self.num_made], self.eager_logits[: -self.num_made]
        return replace(self, images=images, eager_logits=logits, num_made=0)

    def followed_by(self, others: "HeldOut") -> "HeldOut":
        """These images and the next ones of the same data."""
        labels = None
        if self.labels is not None and others.labels is not None:
            labels = np.concatenate([self.labels, others.labels])
        images = np.concatenate([self.images, others.images])
        logits = np.concatenate([self.eager_logits, others.eager_logits])
        return replace(self, images=images, labels=labels, eager_logits=logits)


@dataclass(frozen=True)
class Evidence:
    """Everything measured or calibrated on; `calibration` is None if no target needs it."""

    held_out: HeldOut
    calibration: CalibrationSet | None

    def save(self, path: Path) -> None:
        """Write to one .npz file."""
        arrays: dict[str, NDArray[np.generic]] = {
            "images": self.held_out.images,
            "eager_logits": self.held_out.eager_logits,
            "source": np.array(self.held_out.source),
            "task": np.array(self.held_out.task),
        }
        if self.held_out.labels is not None:
            arrays["labels"] = self.held_out.labels
        if self.held_out.seed is not None:
            arrays["seed"] = np.array(self.held_out.seed)
        if self.held_out.data_sha256 is not None:
            arrays["data_sha256"] = np.array(self.held_out.data_sha256)
        if self.held_out.num_made:
            arrays["num_made"] = np.array(self.held_out.num_made)
        if self.calibration is not None:
            arrays["calibration_images"] = self.calibration.images
            arrays["calibration_seed"] = np.array(self.calibration.seed)
            arrays["calibration_sha256"] = np.array(self.calibration.data_sha256)
            arrays["calibration_source"] = np.array(self.calibration.source)
        np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]

    @classmethod
    def load(cls, path: Path) -> "Evidence":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            held_out = HeldOut(
                images=file["images"],
                labels=file["labels"] if "labels" in file else None,
                eager_logits=file["eager_logits"],
                source=cast(ImagesSource, str(file["source"])),
                seed=int(file["seed"]) if "seed" in file else None,
                data_sha256=str(file["data_sha256"]) if "data_sha256" in file else None,
                num_made=int(file["num_made"]) if "num_made" in file else 0,
                task=cast(TaskName, str(file["task"])),
            )
            calibration = None
            if "calibration_images" in file:
                calibration = CalibrationSet(
                    images=file["calibration_images"],
                    seed=int(file["calibration_seed"]),
                    data_sha256=str(file["calibration_sha256"]),
                    source="folder" if str(file["calibration_source"]) == "folder" else "training",
                )
        return cls(held_out, calibration)


def gather(
    checkpoint: Checkpoint,
    *,
    num_parity: int,
    num_calibration: int,
    seed: int,
    folder: PictureFolder | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Load held-out and calibration images, and run eager on the former.

    Args:
        checkpoint: the model to export. Without training data in its card it is judged on those images of `folder` that
            are not calibrated with, else on synthetic ones.
        num_parity: at most so many held-out images, class-balanced.
        num_calibration: at most so many training images, class-balanced; 0 = no target is calibrated.
        seed: chooses both.
        folder: the user's own pictures, to calibrate with instead of training images.
        on_progress: called with images done and their total while eager runs.

    Raises:
        UsageError: the data are gone, or are not the ones the checkpoint was trained on.
    """
    card = checkpoint.card
    for_calibration, others = (), ()
    if folder is not None:
        for_calibration, others = folder.split(num_calibration, seed=seed, judge_too=card.training is None)
    labels, source, num_made = None, cast(ImagesSource, "held-out"), 0
    if card.training is not None:
        chosen = checkpoint.split("validation").balanced(enough_images(card, num_parity), seed=seed)
        images, labels = np.asarray(chosen.images), true_of(chosen)
    elif folder is not None and others:
        images, source = folder.decode(others[:num_parity], card.preprocess), "folder"
    else:
        images, source = synthetic_images(card.preprocess, seed), "synthetic"
    calibration = None
    if num_calibration and folder is not None:
        pictures = folder.decode(for_calibration, card.preprocess)
        calibration = CalibrationSet(pictures, seed, folder.sha256, "folder")
    elif num_calibration and card.training is not None:
        calibration = from_training(
            checkpoint.split("train"), num_calibration, seed=seed, sha256=card.training.data.train_sha256
        )
    require_steady(checkpoint.model, images[:PROBES], card.preprocess, name=card.model)
    logits = eager_logits(checkpoint.model, card.preprocess, images, on_progress)
    if source == "folder" and not TASKS[card.task].is_dense and why_not_exercised(logits):
        made = synthetic_images(card.preprocess, seed)
        made_logits = eager_logits(checkpoint.model, card.preprocess, made, on_progress)
        images, logits, num_made = np.concatenate([images, made]), np.concatenate([logits, made_logits]), len(made)
    order, data_sha256 = None, None
    if card.training is not None:
        order, data_sha256 = seed, card.training.data.validation_sha256
    return Evidence(HeldOut(images, labels, logits, source, order, data_sha256, num_made, card.task), calibration)


def enough_images(card: Card, wanted: int) -> int:
    """So many images as wanted, or fewer that are enough: one holds thousands of answers where each pixel has one."""
    task = TASKS[card.task]
    if not task.is_dense:
        return wanted
    shape = task.output_shape(task.num_outputs or len(card.class_names), card.preprocess.size_px)
    return min(wanted, max(MOST_OF_PIXELS, MOST_NUMBERS // math.prod(shape)))


def true_of(split: Split) -> NDArray[Any]:
    """What answers are compared with: labels [N], or what is true of every pixel [N, H, W]."""
    return split.labels if split.truth is None else np.asarray(split.truth[np.arange(len(split))])


def further(checkpoint: Checkpoint, held_out: HeldOut) -> HeldOut | None:
    """As many validation images again, and eager's logits of them; fewer if there are no more, None if there are none.

    Made once for all artifacts of one process.

    Args:
        checkpoint: the model that is exported.
        held_out: the first images, as `gather` chose them, or followed by what this function has given.

    Raises:
        UsageError: the data are gone, or are not the ones the checkpoint was trained on.
    """
    seed, count = held_out.seed, len(held_out.images)
    if checkpoint.card.training is None or seed is None:
        return None
    model, preprocess = checkpoint.model, checkpoint.card.preprocess

    def gather_next() -> HeldOut | None:
        split = checkpoint.split("validation").balanced(2 * count, seed=seed)
        if len(split) <= count:
            return None
        chosen = split.take(np.arange(count, len(split)))
        images = np.asarray(chosen.images)
        logits = eager_logits(model, preprocess, images, lambda done, total: None)
        return HeldOut(images, true_of(chosen), logits, "held-out", seed, held_out.data_sha256, task=held_out.task)

    return _further.get(model, (count, seed, model.temperature), gather_next)


def eager_logits(
    model: ImageClassifier,
    preprocess: Preprocess,
    images: NDArray[np.uint8],
    on_progress: Callable[[int, int], None],
) -> Batch:
    """Logits float32 [N, classes] of images uint8 [N, H, W, C] by PyTorch itself."""
    parts: list[Batch] = []
    with torch.inference_mode():
        for start in range(0, len(images), EAGER_BATCH):
            batch = preprocess.to_input(images[start : start + EAGER_BATCH])
            parts.append(model(torch.from_numpy(batch)).numpy())
            on_progress(min(start + EAGER_BATCH, len(images)), len(images))
    return np.concatenate(parts)
