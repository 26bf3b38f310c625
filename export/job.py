"""What an exporter is given (`ExportJob`) and what it says of its product (`ExportedModel`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import Delegation, PrecisionName
from export.artifact.runner import Batch


@dataclass(frozen=True)
class ExportJob:
    """One model to write in one precision.

    Attributes:
        model: in eval mode on the CPU, normalisation inside; the exporter does not change it.
        preprocess: size and channels of its input.
        precision: one that `FORMATS` says the exporter can write.
        calibration_images: float32 [N, C, H, W] in [0, 1]; None where the precision needs no calibration.
        checkpoint: folder the model was loaded from.
        folder: existing empty folder to write into.
    """

    model: ImageClassifier
    preprocess: Preprocess
    precision: PrecisionName
    calibration_images: Batch | None
    checkpoint: Path
    folder: Path

    @property
    def example(self) -> torch.Tensor:
        """An input to trace with: float32 [1, C, H, W]; its values do not matter."""
        return torch.full((1, *self.preprocess.input_shape), 0.5)

    @property
    def calibration(self) -> Batch:
        """The calibration images of a precision that needs them; `convert` checks that they are there."""
        assert self.calibration_images is not None, "convert() was asked to calibrate without images"
        return self.calibration_images


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        files: the model, relative to the job's folder, entry point first.
        scheme: how the precision was reached, in words.
        input_name, output_name: as the runtime calls them.
        batch: 1, or -1 if the file takes any batch size.
        calibrator: how activation ranges were found; None without calibration.
        delegation: what the accelerated backend took; None where the format has no such notion, or does not tell.
        versions: of the packages that wrote it.
        minimum_runtime: oldest runtime that should load it; None if unknown.
    """

    files: tuple[Path, ...]
    scheme: str
    versions: dict[str, str]
    input_name: str = "images"
    output_name: str = "logits"
    batch: Literal[1, -1] = 1
    calibrator: str | None = None
    delegation: Delegation | None = None
    minimum_runtime: str | None = None


class Exporter(Protocol):
    """A module of `FORMATS`."""

    def export(self, job: ExportJob) -> ExportedModel:
        """Write the model into the job's folder. Any exception of the toolchain may come out."""
        ...
