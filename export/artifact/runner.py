"""Runner: an exported model that can be called, one file per format; `RUNNERS` is the one table.

A runtime is imported only when one of its artifacts is opened.
"""

import importlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from distill.errors import ToolError, UsageError
from export.artifact.manifest import FormatName, Manifest

Batch = NDArray[np.float32]
"""Images [B, C, H, W] in [0, 1], or what is answered: logits [B, classes], or of every pixel [B, outputs, H, W]."""


IMAGES_TOGETHER = 32
"""Of several calls that are computed at once."""


@dataclass(frozen=True)
class Bound:
    """A batch that lies ready.

    Attributes:
        run: the runtime's call and nothing else, as it is to be timed; what it returns is the runtime's affair.
        logits: runs and returns the logits. They may lie in the same memory each time.
    """

    run: Callable[[], object]
    logits: Callable[[], Batch]


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

    def bind(self, batch: Batch) -> Bound:
        """Get everything ready for this batch that can be done before it is run.

        Raises:
            UsageError: the artifact does not accept this batch size.
        """
        ...


@runtime_checkable
class RunsTogether(Protocol):
    """A runner that can compute several calls at once, faster than one after the other."""

    def run_together(self, calls: Batch) -> Batch:
        """Logits [calls, B, classes] of the images of several calls [calls, B, C, H, W]; B as `bind` takes it."""
        ...


@dataclass(frozen=True)
class RunnerEntry:
    """Where a runner lives, and what to install when its runtime is missing.

    Attributes:
        timed: whether its time says anything of the format; an interpreter that only proves numbers has none.
    """

    module: str
    package: str
    timed: bool = True


RUNNERS: dict[FormatName, RunnerEntry] = {
    "eager": RunnerEntry("export.artifact.eager", "torch"),
    "torchscript": RunnerEntry("export.artifact.torchscript", "torch"),
    "executorch": RunnerEntry("export.artifact.executorch", "executorch"),
    "executorch-portable": RunnerEntry("export.artifact.executorch", "executorch"),
    "onnx": RunnerEntry("export.artifact.onnx", "onnxruntime"),
    "coreml": RunnerEntry("export.artifact.coreml", "coremltools", timed=False),
    "litert": RunnerEntry("export.artifact.litert", "ai-edge-litert"),
}


def open_runner(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    """Load an artifact on this machine with a number of threads.

    Each runner module has `open_model(folder, manifest, threads=...) -> Runner`.

    Raises:
        UsageError: no runner for the format on this machine, its runtime is not installed, or it cannot load the file.
            Some runtimes end the process on a damaged file; `read_artifact` finds those that do not match their hash.
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
    try:
        return module.open_model(folder, manifest, threads=threads)
    except ToolError:
        raise
    except Exception as error:  # a runtime may fail in any way on a file that is not what it says
        cause = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        raise UsageError(
            f"{entry.package} cannot load the model in {folder}: {type(error).__name__}: {cause:.300} Export it again."
        ) from error


def run_all(runner: Runner, images: Batch, *, batch_sizes: Sequence[int] = (1,)) -> Batch:
    """Logits [N, classes] of images [N, C, H, W], in batches of these sizes in turn.

    The last image is repeated to fill the last batch; the logits of the repetitions are dropped.
    """
    if isinstance(runner, RunsTogether) and len(batch_sizes) == 1:
        return _together(runner, images, batch_sizes[0])
    parts: list[Batch] = []
    done = 0
    for size in itertools.cycle(batch_sizes):
        if done >= len(images):
            return np.concatenate(parts)
        positions = np.minimum(np.arange(done, done + size), len(images) - 1)
        logits = np.array(runner.bind(np.ascontiguousarray(images[positions])).logits(), copy=True)
        parts.append(logits[: len(images) - done])
        done += size
    raise AssertionError("batch_sizes is empty")


def _together(runner: RunsTogether, images: Batch, size: int) -> Batch:
    calls = -(-len(images) // size)
    positions = np.minimum(np.arange(calls * size), len(images) - 1).reshape(calls, size)
    step = max(1, IMAGES_TOGETHER // size)
    parts = [runner.run_together(images[positions[start : start + step]]) for start in range(0, calls, step)]
    answers = np.concatenate(parts)
    return answers.reshape(calls * size, *answers.shape[2:])[: len(images)]
