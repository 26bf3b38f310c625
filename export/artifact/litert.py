"""Runs a .tflite model with LiteRT (ai-edge-litert), XNNPACK included."""

from importlib.metadata import version
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class LiteRtRunner:
    """One interpreter. It has one input buffer, so only the batch bound last is in it; others are put back on call."""

    runtime = "litert"

    def __init__(self, interpreter: Interpreter, manifest: Manifest, *, threads: int) -> None:
        self._interpreter = interpreter
        self._manifest = manifest
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._loaded: Batch | None = None
        self.runtime_version = version("ai-edge-litert")
        # The interpreter has no way to ask; this is what it was made with.
        self.threads = threads

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`.

        The input is copied into the interpreter now and stays valid over calls (LiteRT never gives an input's memory
        to activations); a run only checks that no other batch took its place.
        """
        refuse_other_batch(self._manifest, batch)
        self._load(batch)
        interpreter, output = self._interpreter, self._output

        def run() -> None:
            if self._loaded is not batch:
                self._load(batch)
            interpreter.invoke()

        def run_and_read() -> Batch:
            run()
            return interpreter.get_tensor(output)

        return Bound(run, run_and_read)

    def _load(self, batch: Batch) -> None:
        self._interpreter.set_tensor(self._input, batch)
        self._loaded = batch


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> LiteRtRunner:
    """Load the .tflite and allocate its tensors."""
    interpreter = Interpreter(model_path=str(folder / manifest.file("model")), num_threads=threads)
    interpreter.allocate_tensors()
    return LiteRtRunner(interpreter, manifest, threads=threads)
