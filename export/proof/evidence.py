"""Evidence: the held-out images that every artifact of one export is judged on, eager's logits, calibration images.

Gathered once by the command, then read by each worker.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from distill.checkpoint import Checkpoint
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.artifact.runner import Batch
from export.quantize.calibration import CalibrationSet, PictureFolder, from_training
from export.quantize.kept import Kept

EAGER_BATCH = 32
NUM_SYNTHETIC = 64

_further = Kept["HeldOut | None"]()

ImagesSource = Literal["held-out", "folder", "synthetic"]


@dataclass(frozen=True)
class HeldOut:
    """Images no weight was fitted to, and what eager PyTorch says of them.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size.
        labels: int64 [N]; None if the checkpoint knows no data.
        eager_logits: float32 [N, classes].
        source: `held-out` from the checkpoint's data, the user's `folder`, or `synthetic`.
        seed: orders the validation images, of which these are the first; None if they are others.
        data_sha256: identity of those validation images; None if these are others.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    eager_logits: Batch
    source: ImagesSource
    seed: int | None = None
    data_sha256: str | None = None

    @property
    def order_sha256(self) -> str | None:
        """Identity of the validation images and the order they are taken in; None if these are others."""
        if self.data_sha256 is None:
            return None
        return hashlib.sha256(f"{self.data_sha256} {self.seed}".encode()).hexdigest()

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
        }
        if self.held_out.labels is not None:
            arrays["labels"] = self.held_out.labels
        if self.held_out.seed is not None:
            arrays["seed"] = np.array(self.held_out.seed)
        if self.held_out.data_sha256 is not None:
            arrays["data_sha256"] = np.array(self.held_out.data_sha256)
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
    labels, source = None, cast(ImagesSource, "held-out")
    if card.training is not None:
        chosen = checkpoint.split("validation").balanced(num_parity, seed=seed)
        images, labels = np.asarray(chosen.images), chosen.labels
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
    logits = eager_logits(checkpoint.model, card.preprocess, images, on_progress)
    order, data_sha256 = None, None
    if card.training is not None:
        order, data_sha256 = seed, card.training.data.validation_sha256
    return Evidence(HeldOut(images, labels, logits, source, order, data_sha256), calibration)


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
        return HeldOut(images, chosen.labels, logits, "held-out", seed, held_out.data_sha256)

    return _further.get(model, (count, seed, model.temperature), gather_next)


def synthetic_images(preprocess: Preprocess, seed: int) -> NDArray[np.uint8]:
    """Smooth random pictures for a model without data: uint8 [64, size, size, C]."""
    rng = np.random.default_rng(seed)
    channels, height, width = preprocess.input_shape
    coarse = rng.random((NUM_SYNTHETIC, channels, 8, 8), dtype=np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
    return (smooth.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


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
