"""Runner: an exported model that can be called, one file per format; `RUNNERS` is the one table.

A runtime is imported only when one of its artifacts is opened.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError
from export.artifact.manifest import FormatName, Manifest

Batch = NDArray[np.float32]
"""Images [B, C, H, W] in [0, 1], or logits [B, classes]."""


class Runner(Protocol):
    """A loaded model on this machine's CPU.

    Attributes:
        runtime: what runs it, e.g. "onnxruntime".
        runtime_version: its version.
        threads: how many threads the runtime really uses, read back where it can be.
    """

    runtime: str
    runtime_version: str
    threads: int

    def bind(self, batch: Batch) -> Callable[[], Batch]:
        """Get everything ready for this batch; the call returned does the inference and nothing else that can be
        done beforehand. It may return the same memory each time.

        Raises:
            UsageError: the artifact does not accept this batch size.
        """
        ...


@dataclass(frozen=True)
class RunnerEntry:
    """Where a runner lives, and what to install when its runtime is missing."""

    module: str
    package: str


RUNNERS: dict[FormatName, RunnerEntry] = {
    "eager": RunnerEntry("export.artifact.eager", "torch"),
    "torchscript": RunnerEntry("export.artifact.torchscript", "torch"),
    "executorch": RunnerEntry("export.artifact.executorch", "executorch"),
    "onnx": RunnerEntry("export.artifact.onnx", "onnxruntime"),
    "litert": RunnerEntry("export.artifact.litert", "ai-edge-litert"),
}


def open_runner(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    """Load an artifact on this machine with a number of threads.

    Each runner module has `open_model(folder, manifest, threads=...) -> Runner`.

    Raises:
        UsageError: no runner for the format on this machine, or its runtime is not installed.
    """
    entry = RUNNERS.get(manifest.format)
    if entry is None:
        raise UsageError(f"{manifest.format} models cannot run on this machine; they can be exported and inspected.")
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"running {manifest.format} models needs {entry.package}, which is not installed: "
            f"pip install {entry.package}"
        ) from error
    return module.open_model(folder, manifest, threads=threads)


def run_all(runner: Runner, images: Batch, *, batch_size: int = 1) -> Batch:
    """Logits [N, classes] of images [N, C, H, W], in batches of the size the artifact was exported for."""
    parts = [
        np.array(runner.bind(np.ascontiguousarray(images[start : start + batch_size]))(), copy=True)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)
