"""Artifacts on a GPU, one class per runtime, and the clock that times their calls. Needs torch."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from bench.cuda.probe import GPU_PROVIDER
from bench.session.variants import Variant
from distill.errors import UsageError
from export.artifact import eager, torchscript
from export.artifact.batch import refuse_other_batch
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

GRAPH_WARM_UP = 3
"""Calls before a graph is recorded: cuDNN and cuBLAS set themselves up in the first, which must not be recorded."""

SMALLEST_FLUSH_BYTES = 2**26

NS_PER_MS = 1_000_000

Run = Callable[[], torch.Tensor]
"""One call on the current stream; gives the logits on the GPU without waiting for them."""


class GpuModel(Protocol):
    """A model on a GPU; the attributes are those of `export.artifact.runner.Runner`."""

    runtime: str
    runtime_version: str
    threads: int

    def bind(self, batch: Batch) -> Run:
        """Put a batch on the GPU and get everything ready for it.

        Raises:
            UsageError: the artifact does not accept this batch size.
        """
        ...


class TorchModel:
    """A PyTorch module: as it is, compiled, or as one CUDA graph. Memory format and cuDNN's choice of algorithms are
    PyTorch's defaults.

    `torch.compile` works in the first call, with its cache on disk; a graph is recorded when a batch is bound.
    """

    def __init__(
        self, model: torch.nn.Module, manifest: Manifest, variant: Variant, *, device: str, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        self.runtime = "libtorch" if variant.engine == "torchscript" else "torch"
        self.runtime_version = version("torch")
        self.threads = torch.get_num_threads()
        self._model = model
        self._manifest = manifest
        self._variant = variant
        self._device = device

    def bind(self, batch: Batch) -> Run:
        """See `GpuModel.bind`."""
        refuse_other_batch(self._manifest, batch)
        images = torch.from_numpy(batch).to(self._device, DTYPES[self._variant.precision])
        model: Callable[[torch.Tensor], torch.Tensor] = self._model
        if self._variant.engine == "compile":
            model = torch.compile(self._model, dynamic=False)

        def forward() -> torch.Tensor:
            with torch.inference_mode():
                return model(images)

        run = record(forward) if self._variant.engine == "graphs" else forward
        return with_copy(run, images) if self._variant.copied_input else run


class OnnxModel:
    """A session of ONNX Runtime on torch's stream; every node runs on the GPU, or the session is refused."""

    runtime = "onnxruntime"

    def __init__(self, path: Path, manifest: Manifest, variant: Variant, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        # On the default stream ONNX Runtime would make one of its own, and the events would not see its work.
        stream = torch.cuda.current_stream().cuda_stream
        provider = {
            "device_id": "0",
            "user_compute_stream": str(stream),
            "use_tf32": "1" if variant.precision == "tf32" else "0",
        }
        self._session = onnxruntime.InferenceSession(path, options, providers=[(GPU_PROVIDER, provider)])
        if GPU_PROVIDER not in self._session.get_providers():
            raise UsageError(
                f"ONNX Runtime cannot load its CUDA provider and runs on {', '.join(self._session.get_providers())}. "
                "Install an onnxruntime-gpu built for the CUDA version of torch."
            )
        self._manifest = manifest
        self._variant = variant
        self.runtime_version = onnxruntime.__version__
        self.threads = threads

    def bind(self, batch: Batch) -> Run:
        """See `GpuModel.bind`. Input and output are torch's memory: the call copies nothing."""
        refuse_other_batch(self._manifest, batch)
        images = torch.from_numpy(batch).cuda()
        logits = torch.empty((len(batch), len(self._manifest.class_names)), device="cuda")
        binding = self._session.io_binding()
        binding.bind_input(self._manifest.input.name, "cuda", 0, np.float32, tuple(images.shape), images.data_ptr())
        binding.bind_output(self._manifest.output.name, "cuda", 0, np.float32, tuple(logits.shape), logits.data_ptr())
        session_run = self._session.run_with_iobinding

        def run() -> torch.Tensor:
            session_run(binding)
            return logits

        return with_copy(run, images) if self._variant.copied_input else run


def open_model(folder: Path, manifest: Manifest, variant: Variant, *, threads: int, device: str = "cuda") -> GpuModel:
    """Load an artifact on a device and set what it is computed in.

    Raises:
        UsageError: the artifact cannot be read, or ONNX Runtime cannot use the GPU.
    """
    set_tf32(allowed=variant.precision == "tf32")
    if variant.engine == "onnxruntime":
        return OnnxModel(folder / manifest.file("model"), manifest, variant, threads=threads)
    if variant.engine == "torchscript":
        model = torchscript.load(folder, manifest, device=device)
    else:
        model = eager.load(folder, manifest).to(device, DTYPES[variant.precision])
    return TorchModel(model, manifest, variant, device=device, threads=threads)


def set_tf32(*, allowed: bool) -> None:
    """Whether convolutions and matrix products of fp32 tensors may use TF32; PyTorch allows it to convolutions."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def record(forward: Run) -> Run:
    """The forward pass as one CUDA graph: its kernels are launched together, without Python in between."""
    for _ in range(GRAPH_WARM_UP):
        forward()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = forward()

    def run() -> torch.Tensor:
        graph.replay()
        return logits

    return run


def with_copy(run: Run, images: torch.Tensor) -> Run:
    """The call with its input copied from pinned host memory first, in the type it is computed in."""
    host = images.cpu().pin_memory()

    def copy_and_run() -> torch.Tensor:
        images.copy_(host, non_blocking=True)
        return run()

    return copy_and_run


def to_host(logits: torch.Tensor) -> Batch:
    """Logits [B, classes] as float32 in host memory; waits for the GPU."""
    return logits.float().cpu().numpy()


def l2_flush() -> Callable[[], object]:
    """A function that fills the L2 cache with other data and waits until that is done."""
    size_bytes = max(2 * torch.cuda.get_device_properties(0).L2_cache_size, SMALLEST_FLUSH_BYTES)
    buffer = torch.empty(size_bytes, dtype=torch.uint8, device="cuda")

    def flush() -> None:
        buffer.zero_()
        torch.cuda.current_stream().synchronize()

    return flush


class EventTimer:
    """Calls a model between two CUDA events and adds up the time between: the clock of `bench.timing.loop.measure`.

    The GPU is idle when a call begins, so a sample is the time from the first event to the end of the last kernel,
    on the GPU's own clock: kernels, the gaps between them, and what the host needs to launch the first. Waiting for
    the result on the host and the flush of the cache are not in it. Events resolve about half a microsecond.
    """

    def __init__(self, run: Run, start: Any, end: Any, *, flush: Callable[[], object] | None = None) -> None:
        """`start` and `end` are `torch.cuda.Event(enable_timing=True)`."""
        self._run = run
        self._start = start
        self._end = end
        self._flush = flush
        self._total_ns = 0

    def call(self) -> None:
        """One call, waited for."""
        if self._flush is not None:
            self._flush()
        self._start.record()
        self._run()
        self._end.record()
        self._end.synchronize()
        self._total_ns += round(self._start.elapsed_time(self._end) * NS_PER_MS)

    def clock(self) -> int:
        """Nanoseconds of all calls so far."""
        return self._total_ns
