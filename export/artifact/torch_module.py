"""Runs a module of PyTorch's, whatever it is made of, on the CPU."""

from collections.abc import Callable
from importlib.metadata import version

import torch

from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class TorchModuleRunner:
    """A module as it is; `runtime` says what computes it."""

    runtime: str

    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], manifest: Manifest, *, threads: int) -> None:
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
