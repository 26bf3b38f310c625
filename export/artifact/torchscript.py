"""Runs a frozen TorchScript trace with libtorch."""

import warnings
from pathlib import Path

import torch

from export.artifact.manifest import Manifest
from export.artifact.torch_module import TorchModuleRunner


class TorchScriptRunner(TorchModuleRunner):
    """A frozen graph in libtorch's interpreter. Its first two calls are slower: the executor specialises then."""

    runtime = "libtorch"


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> TorchScriptRunner:
    """As `load`, for this machine's CPU."""
    return TorchScriptRunner(load(folder, manifest, device="cpu"), manifest, threads=threads)


def load(folder: Path, manifest: Manifest, *, device: str) -> torch.jit.ScriptModule:
    """Load `model.ptl` with its weights on a device."""
    with warnings.catch_warnings():
        # TorchScript is deprecated as a whole; it is here because apps with the legacy Android runtime need it.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        return torch.jit.load(folder / manifest.file("model"), map_location=device)
