"""The process that measures one cell on this machine's CPU: `python -m bench.worker JOB RESULT`.

It is a process of its own so that a crash, a hang or a leak costs one row, and so that threads, allocator and
processor caches start the same for every artifact. Standard output and error belong to the runtime's log.
"""

import importlib
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from bench import machine
from bench.record import InputKind
from bench.timing import NS_PER_MS, Limits, Timing, measure
from distill.contract import Strict, write_whole
from distill.errors import ToolError, WorkFailed
from export.artifact.manifest import Manifest, read_artifact
from export.artifact.runner import RUNNERS, Batch, Runner, open_runner

TOLERANCE = {"fp32": 1e-3, "int8": 5e-2}
"""How far logits may lie from the golden ones, as a share of the largest golden logit. Integer kernels round
differently from one processor to the next; a wrong model is off by far more."""

SEED = 0
"""Of random input, for artifacts without a golden one."""


class Job(Strict):
    """What the worker is to do; `folder` is an artifact."""

    folder: str
    batch: int
    threads: int
    limits: Limits


class Measured(Strict):
    """What the worker saw; fields as in `Measurement`."""

    runtime: str
    runtime_version: str
    threads_active: int
    input: InputKind
    warmup_count: int
    warmup_s: float
    samples_ms: tuple[float, ...]
    load_ms: float
    first_inference_ms: float
    peak_memory_bytes: int | None
    cpu_mhz_after: float | None


class Outcome(Strict):
    """Either `measured`, or `failure`: why not, in words."""

    measured: Measured | None
    failure: str | None


def main(job_path: Path, result_path: Path) -> None:
    """Do a job and write its outcome. An exception that is not ours ends the process, its traceback in the log."""
    job = Job.model_validate_json(job_path.read_bytes())
    try:
        outcome = Outcome(measured=measure_job(job), failure=None)
    except ToolError as error:
        outcome = Outcome(measured=None, failure=str(error))
    write_whole(result_path, outcome.model_dump_json().encode())


def measure_job(job: Job) -> Measured:
    """Open the artifact, time it, and check that what was timed computes what it should.

    Raises:
        UsageError: the artifact is damaged, its runtime is missing, or it does not take this batch.
        WorkFailed: its output is not the golden one.
    """
    folder = Path(job.folder)
    manifest = read_artifact(folder)
    runner, load_ms = _open(folder, manifest, threads=job.threads)
    batch, golden = model_input(folder, manifest, batch=job.batch)
    call = runner.bind(batch)
    timing = measure(call, limits=job.limits)
    cpu_mhz = machine.cpu_mhz()
    check_output(call, golden, manifest)
    return _measured(runner, timing, load_ms=load_ms, is_golden=golden is not None, cpu_mhz=cpu_mhz)


def model_input(folder: Path, manifest: Manifest, *, batch: int) -> tuple[Batch, Batch | None]:
    """(input, golden output): the golden ones repeated to fill the batch, or seeded random values and None."""
    roles = {file.role for file in manifest.files}
    if not {"golden-input", "golden-output"} <= roles:
        values = np.random.default_rng(SEED).random((batch, *manifest.input.shape[1:]), dtype=np.float32)
        return values, None
    images, logits = (
        np.load(folder / manifest.file(role), allow_pickle=False) for role in ("golden-input", "golden-output")
    )
    return _fill(images, batch), _fill(logits, batch)


def check_output(call: Callable[[], Batch], golden: Batch | None, manifest: Manifest) -> None:
    """Call once more and compare with the golden output.

    Raises:
        WorkFailed: another shape, values that are not finite, or further off than `TOLERANCE` allows.
    """
    if golden is None:
        return
    found = np.asarray(call())
    if found.shape != golden.shape or not np.isfinite(found).all():
        raise WorkFailed(
            f"the output is wrong: expected {golden.shape} finite logits, found {found.shape} with "
            f"{np.count_nonzero(~np.isfinite(found))} that are not finite. Export the artifact again."
        )
    allowed = TOLERANCE[manifest.precision] * max(1.0, float(np.abs(golden).max()))
    difference = float(np.abs(found - golden).max())
    if difference > allowed:
        raise WorkFailed(
            f"the output is wrong: logits differ from the golden ones by up to {difference:.3g}, allowed is "
            f"{allowed:.3g} for {manifest.precision}. Its speed means nothing; export the artifact again."
        )


def _open(folder: Path, manifest: Manifest, *, threads: int) -> tuple[Runner, float]:
    entry = RUNNERS.get(manifest.format)
    if entry is not None:
        # Importing a runtime is no part of loading a model. If it is missing, open_runner says so in words.
        with suppress(ModuleNotFoundError):
            importlib.import_module(entry.module)
    began = time.perf_counter_ns()
    runner = open_runner(folder, manifest, threads=threads)
    return runner, (time.perf_counter_ns() - began) / NS_PER_MS


def _fill(values: Batch, batch: int) -> Batch:
    return np.ascontiguousarray(np.resize(values, (batch, *values.shape[1:])))


def _measured(runner: Runner, timing: Timing, *, load_ms: float, is_golden: bool, cpu_mhz: float | None) -> Measured:
    return Measured(
        runtime=runner.runtime,
        runtime_version=runner.runtime_version,
        threads_active=runner.threads,
        input="golden" if is_golden else "random",
        warmup_count=timing.warmup_count,
        warmup_s=timing.warmup_s,
        samples_ms=timing.samples_ms,
        load_ms=load_ms,
        first_inference_ms=timing.first_ms,
        peak_memory_bytes=machine.peak_memory_bytes(),
        cpu_mhz_after=cpu_mhz,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
