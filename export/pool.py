"""Runs workers side by side: a converter that crashes, hangs or eats memory costs its own artifact only."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from export.artifact.manifest import FormatName
from export.formats import Target
from export.memory import available_bytes, resident_bytes
from export.staging import staging_path
from export.worker import Ending, Status

WORKER_MEMORY_BYTES = 1_500 * 2**20
"""What the hungriest conversion of a mobile network takes (measured: 1.3 GiB, most of it the toolchains themselves)."""

LEAST_CAP_BYTES = 3 * 2**30
"""A worker may hold its share of the free memory, and this much in any case."""

TIMEOUT_S = 1800.0

WORKER_COMMAND = (sys.executable, "-m", "export.worker")
POLL_S = 0.05
MEMORY_POLL_S = 0.25

# Measured order of conversion times: the longest start first, so that no worker idles while the last one runs.
_LONGEST_FIRST: tuple[FormatName, ...] = (
    "litert",
    "executorch",
    "executorch-portable",
    "executorch-coreml",
    "executorch-vulkan",
    "onnx",
    "coreml",
    "torchscript",
    "eager",
)


@dataclass(frozen=True)
class Limits:
    """What one worker may take, with every process it starts."""

    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Task:
    """One artifact to make, and where its order, its product, its refusal and its log lie."""

    target: Target
    inputs_sha256: str
    folder: Path
    refusal: Path
    log: Path
    order: Path
    ending: Path


@dataclass(frozen=True)
class Outcome:
    """How a worker ended; `cause` says why if the artifact was not made."""

    task: Task
    seconds: float
    status: Status
    cause: str


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    started: float
    over_limit: str | None = None


def run(tasks: Sequence[Task], *, jobs: int, limits: Limits) -> Iterator[Task | Outcome]:
    """Yield each task when its worker starts and its outcome when the worker has ended.

    At most `jobs` run at once; each is killed with all its processes at its limits. Leaving the iteration early
    (Ctrl-C) ends the workers that still run.
    """
    waiting, running = list(tasks), list[_Running]()
    memory_due = 0.0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0)))
                yield running[-1].task
            time.sleep(POLL_S)
            if time.monotonic() >= memory_due:
                _enforce(running, limits)
                memory_due = time.monotonic() + MEMORY_POLL_S
            for worker in [worker for worker in running if _has_ended(worker.process)]:
                running.remove(worker)
                _end(worker)
                yield _outcome(worker)
    finally:
        for worker in running:
            _end(worker)


def worker_limits(jobs: int, memory_gib: float | None, timeout_s: float) -> Limits:
    """What each of `jobs` workers may take; without `memory_gib` an equal share of the free memory."""
    share = max(LEAST_CAP_BYTES, (available_bytes() or 0) // jobs)
    return Limits(share if memory_gib is None else int(memory_gib * 2**30), timeout_s)


def default_jobs() -> int:
    """As many workers as there are cores, but no more than the free memory holds."""
    available = available_bytes()
    by_memory = available // WORKER_MEMORY_BYTES if available else cores()
    return max(1, min(cores(), by_memory))


def cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def longest_first(tasks: Sequence[Task]) -> list[Task]:
    """Tasks in the order in which they should start."""
    return sorted(tasks, key=lambda task: (_LONGEST_FIRST.index(task.target.format), task.target.precision == "fp32"))


def _start(task: Task) -> _Running:
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("wb") as log:
        process = subprocess.Popen(
            [*WORKER_COMMAND, str(task.order)],
            stdin=subprocess.PIPE,  # closes with this process, however it ends: see `export.worker`
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
            process_group=0,
        )
    return _Running(task, process, time.monotonic())


def _enforce(running: Sequence[_Running], limits: Limits) -> None:
    """Kill the workers that are over a limit, and note which."""
    held_bytes = resident_bytes()
    for worker in running:
        held, seconds = held_bytes.get(worker.process.pid, 0), time.monotonic() - worker.started
        worker.over_limit = over_limit(held, seconds, limits)
        if worker.over_limit:
            kill_group(worker.process)


def over_limit(held_bytes: int, seconds: float, limits: Limits) -> str | None:
    """Which limit a worker is over, and how to raise it; None if it is inside."""
    if held_bytes > limits.memory_bytes:
        return (
            f"the converter was ended at its memory limit: it held {held_bytes / 2**30:.1f} GiB of "
            f"{limits.memory_bytes / 2**30:.1f}; raise it with --memory-gib {2 * limits.memory_bytes / 2**30:.0f}"
        )
    if seconds > limits.seconds:
        return (
            f"the converter was ended at its time limit of {limits.seconds:.0f} s; "
            f"raise it with --timeout {2 * limits.seconds:.0f}"
        )
    return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Look without reaping: until then the process keeps its id, so that its group can be killed safely."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(worker: _Running) -> None:
    """End whatever is left of a worker; a killed one cannot remove the folder it was building in."""
    kill_group(worker.process)
    worker.process.wait()
    if worker.process.stdin:
        worker.process.stdin.close()
    shutil.rmtree(staging_path(worker.task.folder, worker.process.pid), ignore_errors=True)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a worker with every process it started; nothing happens if it has ended."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


def _outcome(worker: _Running) -> Outcome:
    seconds = time.monotonic() - worker.started
    if worker.over_limit:
        return Outcome(worker.task, seconds, "failed", worker.over_limit)
    try:
        ending = Ending.read(worker.task.ending)
    except UsageError:
        return Outcome(worker.task, seconds, "failed", how_it_died(worker.process.returncode))
    return Outcome(worker.task, seconds, ending.status, ending.cause)


def how_it_died(code: int) -> str:
    """A worker that left no ending was ended from below: a native crash, or a converter that called exit()."""
    if code == -signal.SIGKILL:
        return "the converter was ended by SIGKILL, most likely by the system for lack of memory; try --jobs 1"
    if code < 0:
        return f"the converter was ended by {_signal_name(-code)}"
    return f"the converter ended its process with exit code {code} before it was done"


def environment() -> dict[str, str]:
    """Our own environment, able to import this package from any working directory."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
