"""Runs a frozen TorchScript trace with libtorch."""

import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class TorchScriptRunner:
    """A frozen graph in libtorch's interpreter. Its first two calls are slower: the executor specialises then."""

    runtime = "libtorch"

    def __init__(self, model: torch.jit.ScriptModule, manifest: Manifest, *, threads: int) -> None:
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


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> TorchScriptRunner:
    """As `load`, for this machine's CPU."""
    return TorchScriptRunner(load(folder, manifest, device="cpu"), manifest, threads=threads)


def load(folder: Path, manifest: Manifest, *, device: str) -> torch.jit.ScriptModule:
    """Load `model.ptl` with its weights on a device."""
    with warnings.catch_warnings():
        # TorchScript is deprecated as a whole; it is here because apps with the legacy Android runtime need it.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        return torch.jit.load(folder / manifest.file("model"), map_location=device)
