"""Runs a checkpoint itself with PyTorch, so that teacher and student are rows of a bench like any other."""

from importlib.metadata import version
from pathlib import Path

import torch

from distill import checkpoint
from distill.vision.deployment import deployed
from distill.vision.models import ImageClassifier
from distill.vision.models.dense.small_answers import leave_small
from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class EagerRunner:
    """The network as Python code; accepts any batch size."""

    runtime = "torch"

    def __init__(self, model: ImageClassifier, manifest: Manifest, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = model
        self._manifest = manifest
        self.runtime_version = version("torch")
        self.threads = torch.get_num_threads()

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`. The batch is wrapped as a tensor without a copy; every call makes new logits."""
        refuse_other_batch(self._manifest, batch)
        images, model = torch.from_numpy(batch), self._model

        @torch.inference_mode()
        def run() -> torch.Tensor:
            return model(images)

        return Bound(run, lambda: run().numpy())


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
