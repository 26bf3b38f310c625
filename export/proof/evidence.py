"""Evidence: the held-out images that every artifact of one export is judged on, eager's logits, calibration images.

Gathered once by the command, then read by each worker.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from distill.checkpoint import Checkpoint, Training
from distill.errors import UsageError
from distill.vision.datasets import Split, SplitName
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.artifact.runner import Batch
from export.quantize.calibration import CalibrationSet, PictureFolder, from_training

EAGER_BATCH = 32
NUM_SYNTHETIC = 64


ImagesSource = Literal["held-out", "folder", "synthetic"]


@dataclass(frozen=True)
class HeldOut:
    """Images no weight was fitted to, and what eager PyTorch says of them.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size.
        labels: int64 [N]; None if the checkpoint knows no data.
        eager_logits: float32 [N, classes].
        source: `held-out` from the checkpoint's data, the user's `folder`, or `synthetic`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    eager_logits: Batch
    source: ImagesSource


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
        chosen = load_verified(card.training, "validation", card.preprocess).balanced(num_parity, seed=seed)
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
        train = load_verified(card.training, "train", card.preprocess)
        calibration = from_training(train, num_calibration, seed=seed, sha256=card.training.data.train_sha256)
    logits = eager_logits(checkpoint.model, card.preprocess, images, on_progress)
    return Evidence(HeldOut(images, labels, logits, source), calibration)


def load_verified(training: Training, split: SplitName, preprocess: Preprocess) -> Split:
    """One split of the data a checkpoint was trained on.

    Raises:
        UsageError: it is missing or unreadable, or its images, labels or classes have changed since.
    """
    data = training.data
    found = data.config.load(split, preprocess)
    expected = data.train_sha256 if split == "train" else data.validation_sha256
    sha256 = found.sha256()
    if sha256 != expected:
        count = data.num_train if split == "train" else data.num_validation
        raise UsageError(
            f"the {split} images of {data.config.kind} are not those this checkpoint was trained with: {len(found)} "
            f"images with hash {sha256[:12]}…, the card says {count} with {expected[:12]}…. Accuracy measured on them "
            "would not be this model's. Put the old data back, or train again on the new."
        )
    return found


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
