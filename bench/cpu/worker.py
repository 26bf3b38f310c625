"""The process that does one job with one artifact on this machine: `python -m bench.cpu.worker JOB RESULT READY`.

It is a process of its own so that a crash, a hang or a leak costs one row, and so that threads and allocator start the
same for every artifact. It imports the runtime, writes a byte to the file descriptor READY, and waits for a line on its
standard input; so it does after every step of its work: several workers can live at once, and only one of them works
at a time. The byte says whether there is more to sample (`MORE`) or only the outcome left (`ENOUGH`). Standard output
and error belong to the runtime's log.
"""

import importlib
import os
import resource
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from bench.cpu import machine
from bench.cpu.load import NOTHING_SPENT, read_load, spent
from bench.cpu.whole_path import time_path
from bench.record import GpuState, InputKind, Launch
from bench.record.repeated import SeenOutput
from bench.session.golden import check_output, model_input
from bench.session.repeats import outputs_of
from bench.session.row import Footprint, StageSamples
from bench.timing.loop import NS_PER_MS, Clock, HostLimits, Timing, in_bursts
from distill.contract import Strict, write_whole
from distill.errors import ToolError
from export.artifact.manifest import Manifest, read_artifact
from export.artifact.runner import RUNNERS, Batch, open_runner, run_all

MEMORY_CALLS = 10
"""Calls after which a model's memory is taken as its peak: runtimes plan theirs in the first few."""

Task = Literal["latency", "memory", "logits"]

MORE, ENOUGH = b"+", b"."

CHUNK = 64
"""Images that are decoded at once when accuracy is measured."""


class Job(Strict):
    """What the worker is to do.

    Attributes:
        task: measure latency or memory, or answer images.
        folder: the artifact.
        limits: when warm-up and sampling stop.
        memory_limit_bytes: data the process may hold; None for no limit.
        images: .npz file with `images`, uint8 [N, H, W, C], or `inputs`, float32 [N, C, H, W], to be answered; None
            for other tasks.
        pictures: files that the whole path is timed with; empty for no such timing.
        repeats: calls with the golden input after the samples whose outputs are compared; 1 for no such comparison.
        logits: where their logits go, .npy float32 [N, classes]; None for other tasks.
        together: as in `bench.record.Launch`.
    """

    task: Task
    folder: str
    batch: int
    threads: int
    limits: HostLimits
    memory_limit_bytes: int | None
    images: str | None = None
    logits: str | None = None
    pictures: tuple[str, ...] = ()
    repeats: int = 1
    together: str | None = None


class GpuWatch(Strict):
    """The GPU before one launch, and while the model ran right after its samples."""

    before: GpuState | None
    loaded: GpuState | None


class Timed(Strict):
    """One launch; `throttled` counts thermal throttlings of the processor, the clocks are those of its fastest core."""

    runtime: str
    runtime_version: str
    threads_active: int
    input: InputKind
    launch: Launch
    samples_ms: tuple[float, ...]
    mhz_before: float | None
    mhz_after: float | None
    throttled: int | None
    gpu: GpuWatch | None = None
    path: StageSamples | None = None
    outputs: tuple[SeenOutput, ...] = ()


class Outcome(Strict):
    """What the task gave, or `failure`: why nothing, in words. `answered` counts images with logits."""

    timed: Timed | None = None
    footprint: Footprint | None = None
    answered: int | None = None
    failure: str | None = None


J = TypeVar("J", bound=Job)

Steps: TypeAlias = Generator[bool, None, Outcome]
"""Work that pauses: it yields whether its samples are enough, and returns its outcome."""


class RuntimeFacts(Protocol):
    """What a runner says of its runtime; see `export.artifact.runner.Runner`."""

    runtime: str
    runtime_version: str
    threads: int


def main(job_path: Path, result_path: Path, ready: int) -> None:
    """Do a job and write its outcome."""
    do(Job.model_validate_json(job_path.read_bytes()), TASKS, _import_runtime, result_path, ready)


def do(
    job: J,
    tasks: Mapping[str, Callable[[J, Manifest], Outcome | Steps]],
    prepare: Callable[[Manifest], None],
    result_path: Path,
    ready: int,
) -> None:
    """Prepare for a job, do it step by step, each when the word to go comes, and write its outcome.

    An exception that is not ours ends the process, its traceback in the log.
    """
    # What the runtime starts must not keep the pipe open when this process has ended.
    os.set_inheritable(ready, False)
    if job.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit_bytes, job.memory_limit_bytes))
    try:
        manifest = read_artifact(Path(job.folder))
        prepare(manifest)
        if not _told_to_go(ready, MORE):
            return
        work = tasks[job.task](job, manifest)
        outcome = work if isinstance(work, Outcome) else _step_by_step(work, ready)
    except ToolError as error:
        outcome = Outcome(failure=str(error))
    if outcome is not None:
        write_whole(result_path, outcome.model_dump_json().encode())


def measure_latency(job: Job, manifest: Manifest) -> Steps:
    """Open the artifact, time it, and check that what was timed computes what it should.

    Raises:
        UsageError: its runtime is missing, or it does not take this batch.
        WorkFailed: its output is not the golden one.
    """
    folder = Path(job.folder)
    began = time.perf_counter_ns()
    runner = open_runner(folder, manifest, threads=job.threads)
    load_ms = (time.perf_counter_ns() - began) / NS_PER_MS
    batch, golden = model_input(folder, manifest, batch=job.batch)
    bound = runner.bind(batch)
    timed = yield from time_launch(bound.run, runner, golden, job, load_ms=load_ms)
    check_output(bound.logits, golden, manifest)
    if job.repeats > 1:
        timed = timed.model_copy(update={"outputs": outputs_of(bound.logits, job.repeats)})
    if job.pictures:
        files = [Path(file) for file in job.pictures]
        timed = timed.model_copy(update={"path": time_path(runner, manifest, files, clock=time.perf_counter_ns)})
    return Outcome(timed=timed)


def time_launch(
    call: Callable[[], object],
    runner: RuntimeFacts,
    golden: Batch | None,
    job: Job,
    *,
    load_ms: float,
    clock: Clock = time.perf_counter_ns,
) -> Generator[bool, None, Timed]:
    """Time a call by a clock, and watch the machine meanwhile, but not in the pauses between bursts."""
    mhz_before = mhz_after = machine.cpu_mhz()
    course, seconds, throttlings = in_bursts(call, limits=job.limits, clock=clock), NOTHING_SPENT, list[int | None]()
    timing: Timing | None = None
    while timing is None:
        before, throttled_before, is_enough = read_load(), machine.throttle_count(), True
        try:
            is_enough = next(course)
        except StopIteration as end:
            timing = end.value
        if timing is None or job.limits.burst_s is None:  # after the last pause nothing is timed any more
            seconds += spent(before, read_load())
            throttlings.append(_difference(throttled_before, machine.throttle_count()))
            mhz_after = machine.cpu_mhz()
        if timing is None:
            yield is_enough
    load = seconds.load()
    launch = Launch(
        sample_count=len(timing.samples_ms),
        warmup_count=timing.warmup.count,
        warmup_s=timing.warmup.seconds,
        steady=timing.warmup.steady,
        load_ms=load_ms,
        first_inference_ms=timing.first_ms,
        other_work_share=load.other_work,
        stolen_share=load.stolen,
        waiting_share=load.waiting,
        burst_counts=() if job.limits.burst_s is None else timing.burst_counts,
        together=job.together,
    )
    return Timed(
        runtime=runner.runtime,
        runtime_version=runner.runtime_version,
        threads_active=runner.threads,
        input="random" if golden is None else "golden",
        launch=launch,
        samples_ms=timing.samples_ms,
        mhz_before=mhz_before,
        mhz_after=mhz_after,
        throttled=None if None in throttlings else sum(count for count in throttlings if count is not None),
    )


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def measure_memory(job: Job, manifest: Manifest) -> Outcome:
    """Resident memory before and after the artifact is opened, and at its highest over some calls.

    Raises:
        UsageError: as `measure_latency`.
    """
    folder = Path(job.folder)
    runtime_bytes = machine.memory_bytes()
    runner = open_runner(folder, manifest, threads=job.threads)
    loaded_bytes = machine.memory_bytes()
    batch, _ = model_input(folder, manifest, batch=job.batch)
    bound = runner.bind(batch)
    for _ in range(MEMORY_CALLS):
        bound.logits()
    peak_bytes = machine.peak_memory_bytes()
    return Outcome(footprint=Footprint(runtime_bytes=runtime_bytes, loaded_bytes=loaded_bytes, peak_bytes=peak_bytes))


def write_logits(job: Job, manifest: Manifest) -> Outcome:
    """The logits that the artifact gives each image.

    Raises:
        UsageError: as `measure_latency`.
    """
    if job.images is None or job.logits is None:
        raise ValueError("a job for logits names no images, or no place for them")
    runner = open_runner(Path(job.folder), manifest, threads=job.threads)
    with np.load(job.images, allow_pickle=False) as file:
        images = file["inputs"] if "inputs" in file else file["images"]
    parts: list[Batch] = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        inputs = chunk if chunk.dtype == np.float32 else manifest.preprocess.to_input(chunk)
        parts.append(run_all(runner, inputs, batch_sizes=(job.batch,)))
    np.save(job.logits, np.concatenate(parts))
    return Outcome(answered=len(images))


TASKS = {"latency": measure_latency, "memory": measure_memory, "logits": write_logits}


def _import_runtime(manifest: Manifest) -> None:
    entry = RUNNERS.get(manifest.format)
    if entry is not None:
        # Importing a runtime is no part of loading a model. If it is missing, open_runner says so in words.
        with suppress(ModuleNotFoundError):
            importlib.import_module(entry.module)


def _step_by_step(steps: Steps, ready: int) -> Outcome | None:
    """The outcome, or None if the word to go on did not come."""
    while True:
        try:
            is_enough = next(steps)
        except StopIteration as end:
            return end.value
        if not _told_to_go(ready, ENOUGH if is_enough else MORE):
            return None


def _told_to_go(ready: int, state: bytes) -> bool:
    """Whether the word to go came; it does not come if the bench that started this process is gone."""
    os.write(ready, state)
    return bool(sys.stdin.readline())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
