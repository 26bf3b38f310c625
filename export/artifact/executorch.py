"""Runs an ExecuTorch program (.pte) with the runtime of the `executorch` package, XNNPACK included."""

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The bindings need torch loaded. Their public name, `portable_lib`, imports the whole exporter for one warning: three
# times the start-up of every process that only runs a program.
import torch
from executorch.extension.pybindings import _C as bindings

from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class ExecuTorchRunner:
    """One loaded method. The thread pool belongs to the process: the last runner opened sets it for all."""

    runtime = "executorch"

    def __init__(self, program: Any, manifest: Manifest) -> None:
        self._program = program  # owns the memory that the method points into
        self._method = program.load_method("forward")
        self._manifest = manifest
        self.runtime_version = version("executorch")
        self.threads = bindings._threadpool_get_thread_count()

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`.

        Copying the input into the program's planned memory is part of the call: the runtime may reuse that memory for
        activations, so it needs the input each time. The logits returned are the program's own memory.
        """
        refuse_other_batch(self._manifest, batch)
        run = partial(self._method.call, (torch.from_numpy(batch),), clone_outputs=False)
        return Bound(run, lambda: run()[0].numpy())


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> ExecuTorchRunner:
    """Load the .pte after the thread pool was made: XNNPACK takes the pool when the program is loaded."""
    bindings._unsafe_reset_threadpool(threads)
    return ExecuTorchRunner(bindings._load_program(str(folder / manifest.file("model"))), manifest)
