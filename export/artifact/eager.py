"""Runs a checkpoint itself with PyTorch, so that teacher and student are rows of a bench like any other."""

from pathlib import Path

from distill import checkpoint
from distill.vision.deployment import deployed
from distill.vision.models import ImageClassifier
from distill.vision.models.dense.small_answers import leave_small
from export.artifact.manifest import Manifest
from export.artifact.torch_module import TorchModuleRunner


class EagerRunner(TorchModuleRunner):
    """The network as Python code; accepts any batch size."""

    runtime = "torch"


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> EagerRunner:
    """As `load`, for this machine's CPU."""
    return EagerRunner(load(folder, manifest), manifest, threads=threads)


def load(folder: Path, manifest: Manifest) -> ImageClassifier:
    """Load `card.json` and `weights.safetensors` as `distill.checkpoint` does, in the form that is deployed.

    Its errors are UsageErrors.
    """
    loaded = checkpoint.load(folder)
    if manifest.answers_small:
        leave_small(loaded.model, loaded.card.preprocess.input_shape)
    return deployed(loaded.model, loaded.card.preprocess.input_shape).model
