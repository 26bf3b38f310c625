"""Runs a Core ML package: with Core ML on a Mac, elsewhere with an interpreter that proves its numbers."""

import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from distill.errors import UsageError
from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.mil.interpreter import Interpreter
from export.artifact.mil.program import read_program
from export.artifact.runner import Batch, Bound, Runner

PACKAGE_SUFFIX = ".mlpackage"


class InterpretedRunner:
    """The program in our interpreter. Its time says nothing about Core ML, so `bench` does not measure it."""

    runtime = "coreml-interpreter"

    def __init__(self, interpreter: Interpreter, manifest: Manifest, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._interpreter = interpreter
        self._manifest = manifest
        self.runtime_version = f"torch {version('torch')}"
        self.threads = torch.get_num_threads()

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`. The batch is wrapped as a tensor without a copy; every call makes new logits."""
        refuse_other_batch(self._manifest, batch)
        inputs, output = {self._manifest.input.name: torch.from_numpy(batch)}, self._manifest.output.name
        run = partial(self._interpreter.run, inputs)
        return Bound(run, lambda: run()[output].numpy())

    def run_together(self, calls: Batch) -> Batch:
        """See `RunsTogether`. Sums inside an operation may be in another order than in single calls."""
        name, output, run = self._manifest.input.name, self._manifest.output.name, self._interpreter.run
        together = torch.vmap(lambda images: run({name: images})[output])
        return together(torch.from_numpy(calls)).numpy()


class CoreMlRunner:
    """Core ML on this Mac's CPU. It has no way to choose or to ask for threads: `threads` is what was wanted."""

    runtime = "coreml"

    def __init__(self, model: Any, manifest: Manifest, *, threads: int) -> None:
        self._model = model
        self._manifest = manifest
        self.runtime_version = f"coremltools {version('coremltools')}"
        self.threads = threads

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`."""
        refuse_other_batch(self._manifest, batch)
        run = partial(self._model.predict, {self._manifest.input.name: batch})
        return Bound(run, lambda: run()[self._manifest.output.name])


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    """Load the package, checked by our reader on every machine.

    Raises:
        UsageError: it is damaged, refers outside itself, or has an operation that the interpreter does not know.
    """
    package = package_folder(folder, manifest)
    interpreter = Interpreter(read_program(package))
    names = ([entry.name for entry in interpreter.program.inputs], list(interpreter.program.outputs))
    expected = ([manifest.input.name], [manifest.output.name])
    if names != expected:
        raise UsageError(f"{package} has inputs and outputs {names}, its manifest says {expected}. Export it again.")
    if sys.platform == "darwin":
        import coremltools as ct

        model = ct.models.MLModel(str(package), compute_units=ct.ComputeUnit.CPU_ONLY)
        return CoreMlRunner(model, manifest, threads=threads)
    return InterpretedRunner(interpreter, manifest, threads=threads)


def package_folder(folder: Path, manifest: Manifest) -> Path:
    """The package that the manifest's model files lie in.

    Raises:
        UsageError: they lie in none.
    """
    name = PurePosixPath(manifest.file("model")).parts[0]
    if not name.endswith(PACKAGE_SUFFIX):
        raise UsageError(f"{folder}: the model {manifest.file('model')} is not inside an {PACKAGE_SUFFIX} folder.")
    return folder / name
