"""What an exporter is given (`ExportJob`) and what it says of its product (`ExportedModel`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from pydantic import JsonValue

from distill.checkpoint import Card
from distill.version import toolkit_version
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.artifact.manifest import ANY_BATCH, Delegation, PrecisionName
from export.artifact.runner import Batch
from export.quantize.recipe import QuantizationRecipe

DYNAMIC_EXAMPLE = 2
"""Images in the example of a dynamic batch: torch.export takes a dimension of size 1 for a constant."""


@dataclass(frozen=True)
class ExportJob:
    """One model to write in one precision.

    Attributes:
        model: in eval mode on the CPU, normalisation and temperature inside; the exporter does not change it.
        card: what the checkpoint says of itself, with the temperature that this export was asked for.
        precision: one that `FORMATS` says the exporter can write.
        batch: images per call; -1 = any number. One that `FORMATS` says the exporter can write.
        calibration_images: float32 [N, C, H, W] in [0, 1]; None where the precision needs no calibration.
        checkpoint: folder the model was loaded from.
        folder: existing empty folder to write into.
        recipe: settings of the quantizer; None = the exporter's own choice.
    """

    model: ImageClassifier
    card: Card
    precision: PrecisionName
    batch: int
    calibration_images: Batch | None
    checkpoint: Path
    folder: Path
    recipe: QuantizationRecipe | None = None

    @property
    def preprocess(self) -> Preprocess:
        """Size and channels of the model's input."""
        return self.card.preprocess

    @property
    def dynamic_batch(self) -> bool:
        """Whether the file has to take any number of images."""
        return self.batch == ANY_BATCH

    @property
    def example(self) -> torch.Tensor:
        """An input to trace with: float32 [B, C, H, W], B = `batch`, or 2 where any will do; values do not matter."""
        images = DYNAMIC_EXAMPLE if self.dynamic_batch else self.batch
        return torch.full((images, *self.preprocess.input_shape), 0.5)

    @property
    def calibration(self) -> Batch:
        """The calibration images of a precision that needs them; `convert` checks that they are there."""
        assert self.calibration_images is not None, "convert() was asked to calibrate without images"
        return self.calibration_images

    def metadata(self) -> dict[str, str]:
        """What a model file itself should say, for tools that see no manifest; every format has a place for strings.

        Nothing in it differs between two exports of the same inputs. `labels` is a JSON list, in the order of the
        logits.
        """
        preprocess = self.preprocess
        return {
            "labels": json.dumps(self.card.class_names, ensure_ascii=False),
            "input_layout": "NCHW",
            "input_range": "0..1",
            "input_channels": "grey" if preprocess.channels == 1 else "RGB",
            "input_size_px": str(preprocess.size_px),
            "input_resize": preprocess.resize,
            "normalization": "inside the model",
            "output": "logits",
            "temperature": repr(self.card.temperature),
            "model": self.card.model,
            "precision": self.precision,
            "checkpoint_sha256": self.card.weights_sha256,
            "toolkit": f"pocket-distill {toolkit_version()}",
        }


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        files: the model, relative to the job's folder, entry point first.
        scheme: how the precision was reached, in words.
        versions: of the packages that wrote it.
        input_name, output_name: as the runtime calls them.
        batch: images per call; -1 if the file takes any number. It may be -1 where the job asked for one size.
        calibrator: how activation ranges were found; None without calibration.
        recipe: settings of the quantizer that were used in the end; None without quantization.
        delegation: what the accelerated backend took; None where the format has no such notion, or does not tell.
        notes: what else a user of the file has to know, one sentence each.
        minimum_runtime: oldest runtime that should load it; None if unknown.
    """

    files: tuple[Path, ...]
    scheme: str
    versions: dict[str, str]
    input_name: str = "images"
    output_name: str = "logits"
    batch: int = 1
    calibrator: str | None = None
    recipe: Mapping[str, JsonValue] | None = None
    delegation: Delegation | None = None
    notes: tuple[str, ...] = ()
    minimum_runtime: str | None = None


class Exporter(Protocol):
    """A module of `FORMATS`."""

    def export(self, job: ExportJob) -> ExportedModel:
        """Write the model into the job's folder. Any exception of the toolchain may come out."""
        ...
