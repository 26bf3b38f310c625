"""The process that does one job with one artifact on a GPU: `python -m bench.cuda.worker JOB RESULT READY`.

As `bench.cpu.worker`, with the GPU's clock and its state. Only torch is imported before the word to go comes: whoever
waits holds nothing on the GPU.
"""

import importlib
import sys
import time
from pathlib import Path

from bench.cpu.worker import MEMORY_CALLS, Footprint, GpuWatch, Job, Outcome, Steps, do, time_launch
from bench.cuda.state import read_state, state_under
from bench.session.golden import check_output, model_input
from bench.session.variants import Variant
from bench.timing.loop import NS_PER_MS
from export.artifact.manifest import Manifest


class GpuJob(Job):
    """A job on a GPU.

    Attributes:
        variant: how the artifact runs there.
        uuid: of the GPU, for nvidia-smi.
    """

    variant: Variant
    uuid: str


def main(job_path: Path, result_path: Path, ready: int) -> None:
    """As `bench.cpu.worker.main`."""
    do(GpuJob.model_validate_json(job_path.read_bytes()), TASKS, _import_torch, result_path, ready)


def measure_latency(job: GpuJob, manifest: Manifest) -> Steps:
    """Open the artifact on the GPU, time it there, and check that what was timed computes what it should.

    `load_ms` is until the artifact lies on the GPU, ready for this batch; CUDA itself has started before.

    Raises:
        UsageError: its runtime cannot use the GPU, or it does not take this batch.
        WorkFailed: its output is not the golden one.
    """
    import torch

    from bench.cuda.engines import EventTimer, l2_flush, open_model, to_host

    before = read_state(job.uuid)
    _start_cuda()
    folder = Path(job.folder)
    batch, golden = model_input(folder, manifest, batch=job.batch)
    began = time.perf_counter_ns()
    model = open_model(folder, manifest, job.variant, threads=job.threads)
    run = model.bind(batch)
    torch.cuda.synchronize()
    load_ms = (time.perf_counter_ns() - began) / NS_PER_MS
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    timer = EventTimer(run, start, end, flush=l2_flush() if job.variant.cold_l2 else None)
    timed = yield from time_launch(timer.call, model, golden, job, load_ms=load_ms, clock=timer.clock)
    watch = GpuWatch(before=before, loaded=state_under(timer.call, job.uuid))
    check_output(lambda: to_host(run()), golden, manifest, precision=job.variant.precision)
    return Outcome(timed=timed.model_copy(update={"gpu": watch}))


def measure_memory(job: GpuJob, manifest: Manifest) -> Outcome:
    """GPU memory that torch's allocator holds once the artifact is open, and at its highest over some calls.

    ONNX Runtime has an allocator of its own, which says nothing: its figures are None.

    Raises:
        UsageError: as `measure_latency`.
    """
    import torch

    from bench.cuda.engines import open_model

    _start_cuda()
    folder = Path(job.folder)
    model = open_model(folder, manifest, job.variant, threads=job.threads)
    loaded_bytes = torch.cuda.memory_allocated()
    batch, _ = model_input(folder, manifest, batch=job.batch)
    run = model.bind(batch)
    for _ in range(MEMORY_CALLS):
        run()
    torch.cuda.synchronize()
    # The peak is not reset after `bind`: a graph takes its memory there, and its replays ask the allocator for none.
    peak_bytes = torch.cuda.max_memory_allocated()
    if job.variant.engine == "onnxruntime":
        return Outcome(footprint=Footprint(runtime_bytes=None, loaded_bytes=None, peak_bytes=None))
    return Outcome(footprint=Footprint(runtime_bytes=None, loaded_bytes=loaded_bytes, peak_bytes=peak_bytes))


TASKS = {"latency": measure_latency, "memory": measure_memory}


def _start_cuda() -> None:
    """Start CUDA, and put all work on a stream of our own: ONNX Runtime cannot be given the default one."""
    import torch

    torch.cuda.init()
    torch.cuda.set_stream(torch.cuda.Stream())
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()


def _import_torch(_: Manifest) -> None:
    importlib.import_module("torch")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
