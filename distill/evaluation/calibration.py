"""Does a network know how sure it may be? Reliability, and temperature scaling of a finished model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill import checkpoint
from distill.checkpoint import Metrics
from distill.errors import UsageError
from distill.evaluation.evaluate import CALIBRATION_BINS, metrics, predict
from distill.training.batches import Batches
from distill.vision.datasets import Split

CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a certain confidence are right; one entry per bin (low, high] of the top probability.

    Attributes:
        confidence, accuracy: means per bin, in [0, 1]; nan in an empty bin.
        count: images per bin.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


def reliability(logits: Tensor, labels: Tensor, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """The reliability diagram of logits [N, classes] against labels int64 [N]."""
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    right = (predicted == labels).double()
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype)[1:-1]
    which = torch.bucketize(confidence.cpu(), edges)
    inside = [which == index for index in range(bins)]
    return Reliability(
        confidence=tuple(confidence.cpu()[chosen].mean().item() for chosen in inside),
        accuracy=tuple(right.cpu()[chosen].mean().item() for chosen in inside),
        count=tuple(int(chosen.sum()) for chosen in inside),
    )


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 that minimises the cross-entropy of logits / T (Guo et al. 2017, arXiv:1706.04599), in [0.05, 20].

    Args:
        logits: [N, classes] of images that the network was not trained on.
        labels: int64 [N].
    """
    from scipy.optimize import minimize_scalar  # takes a second

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(exact / np.exp(log_temperature), labels).item()

    bounds = (float(np.log(0.05)), float(np.log(20.0)))
    minimum = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(minimum.x))  # pyright: ignore[reportAttributeAccessIssue]


def halves(split: Split, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions of two halves of a split, no patient in both where patients are known."""
    first, second = split.divided(0.5, seed=seed)
    return torch.from_numpy(first), torch.from_numpy(second)


@dataclass(frozen=True)
class TemperatureScaling:
    """A fitted temperature, and what it does to images that did not take part in the fit."""

    temperature: float
    before: Metrics
    after: Metrics
    reliability_before: Reliability
    reliability_after: Reliability


def scale_temperature(logits: Tensor, split: Split, *, epoch: int) -> TemperatureScaling:
    """Fit on one half of the validation images, measure on the other.

    Args:
        logits: [N, classes] of the split's images, in order, on the CPU.
        split: the validation split.
        epoch: named in the metrics.

    Raises:
        UsageError: there are not two images, or not two patients, to divide.
    """
    labels = torch.from_numpy(split.labels)
    fit, judge = halves(split)
    if not len(fit):
        what = "image" if split.groups is None else "patient"
        raise UsageError(
            f"the validation split has one {what}; a temperature is fitted to some and judged on others. "
            f"Add {what}s: 20 at least make the figure worth something."
        )
    temperature = fit_temperature(logits[fit], labels[fit])
    plain, scaled = logits[judge], logits[judge] / temperature
    return TemperatureScaling(
        temperature,
        metrics(plain, labels[judge], epoch=epoch),
        metrics(scaled, labels[judge], epoch=epoch),
        reliability(plain, labels[judge]),
        reliability(scaled, labels[judge]),
    )


def calibrate(path: Path, data: Path | None = None) -> tuple[Path, TemperatureScaling]:
    """Fit a temperature to a finished checkpoint and save the calibrated one in `calibrated/` of its folder.

    Its logits are divided by the temperature inside the graph, so every export of it is calibrated too.

    Args:
        path: a run or checkpoint folder.
        data: where its data lie now; None for where they were.

    Raises:
        UsageError: a checkpoint without data, one that is calibrated already, or data that have changed.
    """
    loaded = checkpoint.load(path, data)
    training = loaded.card.training
    if training is None:
        raise UsageError(f"{path} was brought without data; temperature scaling needs its validation images.")
    if loaded.card.task != "classification":
        raise UsageError(f"{path} is for {loaded.card.task}; a temperature is fitted to classifiers of pictures.")
    if loaded.card.temperature != 1.0:
        raise UsageError(f"{path} is calibrated already (temperature {loaded.card.temperature:.3f}).")
    split = loaded.split("validation")
    logits = predict(loaded.model, Batches(split, batch_size=256, device=torch.device("cpu")))
    scaling = scale_temperature(logits, split, epoch=training.epoch)
    loaded.model.temperature = scaling.temperature
    folder = path / CALIBRATED
    checkpoint.save(
        folder,
        loaded.model,
        name=loaded.card.model,
        class_names=loaded.card.class_names,
        preprocess=loaded.card.preprocess,
        training=training,
        task=loaded.card.task,
    )
    return folder, scaling


def calibrate_run(path: Path) -> Path:
    """The calibrated checkpoint of a finished run, made if it is not there yet."""
    folder = path / CALIBRATED
    return folder if (folder / checkpoint.CARD_FILE).is_file() else calibrate(path)[0]
