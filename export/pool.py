"""Runs workers side by side: a converter that crashes, exits or leaks costs its own artifact only."""

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

from export.formats import Target
from export.staging import staging_path
from export.worker import Order

WORKER_MEMORY_BYTES = 1_500 * 2**20
"""What the hungriest conversion of a mobile network takes (measured: 1.3 GiB, most of it the toolchains themselves)."""

WORKER_COMMAND = (sys.executable, "-m", "export.worker")
POLL_S = 0.05

# Measured order of conversion times: the longest start first, so that no worker idles while the last one runs.
_LONGEST_FIRST = ("litert", "executorch", "onnx", "coreml", "torchscript", "eager")


@dataclass(frozen=True)
class Task:
    """One artifact to make, and where its order, its product and its log lie."""

    target: Target
    folder: Path
    log: Path
    order: Path
    ending: Path


@dataclass(frozen=True)
class Outcome:
    """How a worker ended; `failure` is None if the artifact was made."""

    task: Task
    seconds: float
    failure: str | None


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    started: float


def prepare(targets: Sequence[Target], *, checkpoint: Path, evidence: Path, out: Path, scratch: Path) -> list[Task]:
    """Write one order per artifact into `scratch`; the longest conversions come first."""
    tasks: list[Task] = []
    for target in sorted(targets, key=lambda target: (_LONGEST_FIRST.index(target.format), target.precision == "fp32")):
        task = Task(
            target=target,
            folder=out / target.name,
            log=out / f"{target.name}.log",
            order=scratch / f"{target.name}.json",
            ending=scratch / f"{target.name}.ending",
        )
        order = Order(
            checkpoint=str(checkpoint),
            evidence=str(evidence),
            format=target.format,
            precision=target.precision,
            folder=str(task.folder),
            ending=str(task.ending),
        )
        order.write(task.order)
        tasks.append(task)
    return tasks


def run(tasks: Sequence[Task], *, jobs: int) -> Iterator[Task | Outcome]:
    """Yield each task when its worker starts and its outcome when the worker has ended.

    At most `jobs` run at once. Leaving the iteration early (Ctrl-C) ends the workers that still run.
    """
    waiting, running = list(tasks), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0)))
                yield running[-1].task
            time.sleep(POLL_S)
            for worker in [worker for worker in running if worker.process.poll() is not None]:
                running.remove(worker)
                yield _finish(worker)
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.wait()
            _clean(worker)


def default_jobs() -> int:
    """As many workers as there are cores, but no more than the free memory holds."""
    available = _available_memory_bytes()
    by_memory = available // WORKER_MEMORY_BYTES if available else cores()
    return max(1, min(cores(), by_memory))


def cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(task: Task) -> _Running:
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("wb") as log:
        process = subprocess.Popen(
            [*WORKER_COMMAND, str(task.order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
    return _Running(task, process, time.monotonic())


def _finish(worker: _Running) -> Outcome:
    seconds = time.monotonic() - worker.started
    _clean(worker)
    ending = worker.task.ending
    cause = ending.read_text() if ending.is_file() else _how_it_died(worker.process.returncode)
    return Outcome(worker.task, seconds, cause or None)


def _how_it_died(code: int) -> str:
    """A worker that left no ending was ended from below: a native crash, or a converter that called exit()."""
    if code < 0:
        return f"the converter was ended by {_signal_name(-code)}"
    return f"the converter ended its process with exit code {code} before it was done"


def _clean(worker: _Running) -> None:
    """A killed worker cannot remove the folder it was building in."""
    shutil.rmtree(staging_path(worker.task.folder, worker.process.pid), ignore_errors=True)


def _environment() -> dict[str, str]:
    """Our own environment, able to import this package from any working directory."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _available_memory_bytes() -> int | None:
    """Linux's own estimate of what can be used without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
