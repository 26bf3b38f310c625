"""Runs an ONNX model with ONNX Runtime on the CPU."""

from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound


class OnnxRunner:
    """One session on the CPU provider."""

    runtime = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self._session = session
        self._manifest = manifest
        self.runtime_version = onnxruntime.__version__
        # 0 would mean "as many as ONNX Runtime likes"; we always set it, so this is what the pool was made with.
        self.threads = session.get_session_options().intra_op_num_threads

    def bind(self, batch: Batch) -> Bound:
        """See `Runner.bind`. Input and output are bound to memory once: the call copies nothing."""
        refuse_other_batch(self._manifest, batch)
        logits = np.empty((len(batch), *self._manifest.output.shape[1:]), dtype=np.float32)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._manifest.input.name, onnxruntime.OrtValue.ortvalue_from_numpy(batch))
        binding.bind_ortvalue_output(self._manifest.output.name, onnxruntime.OrtValue.ortvalue_from_numpy(logits))
        # Without run options: even empty ones cost ONNX Runtime some 30 us in every call.
        run = partial(self._session.run_with_iobinding, binding)

        def run_and_read() -> Batch:
            run()
            return logits

        return Bound(run, run_and_read)


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> OnnxRunner:
    """Make a session with `threads` threads inside an operation and no concurrency between operations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = folder / manifest.file("model")
    return OnnxRunner(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), manifest)
