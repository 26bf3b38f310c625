"""Runs workers side by side: a converter that crashes, hangs or eats memory costs its own artifact only."""

import shutil
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import UsageError
from distill.system import available_bytes, usable_cores
from export.artifact.manifest import FormatName
from export.artifact.staging import staging_path
from export.formats import Target
from export.run.hosts import Hosts, can_fork
from export.run.memory import resident_bytes
from export.run.processes import Process, Spawner
from export.run.worker import Ending, Status

WORKER_MEMORY_BYTES = 1_500 * 2**20
"""What the hungriest conversion of a mobile network takes (measured: 1.3 GiB, most of it the toolchains themselves)."""

LEAST_CAP_BYTES = 3 * 2**30
"""A worker may hold its share of the free memory, and this much in any case."""

TIMEOUT_S = 1800.0

POLL_S = 0.05
MEMORY_POLL_S = 0.25

_USUAL_SECONDS: dict[FormatName, tuple[float, float, float]] = {
    "executorch": (10, 14, 35),
    "executorch-portable": (6, 17, 17),
    "executorch-coreml": (15, 17, 17),
    "executorch-vulkan": (6, 17, 17),
    "litert": (20, 1, 3),
    "coreml": (5, 7, 9),
    "onnx": (7, 1, 4),
    "torchscript": (0, 2, 2),
    "eager": (0, 2, 2),
}
"""Measured on MobileNetV3-Small: to open a format, to make it in fp32, to make it in another precision. Only the order
depends on them."""


@dataclass(frozen=True)
class Limits:
    """What one worker may take, with every process it starts."""

    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Task:
    """One artifact to make, and where its order, its product, its refusal and its log lie.

    `shared` is the folder for what the format's precisions share.
    """

    target: Target
    inputs_sha256: str
    folder: Path
    refusal: Path
    log: Path
    order: Path
    ending: Path
    shared: Path


@dataclass(frozen=True)
class Opening:
    """What comes before the artifacts of a format: its toolchain is imported, and the shared work done.

    Attributes:
        format: which.
        order: of the shared work; None without.
        ending: file that says how that went, or why no worker can be forked.
    """

    format: FormatName
    order: Path | None
    ending: Path


@dataclass(frozen=True)
class Opened:
    """A format's workers can be started."""

    opening: Opening
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a worker ended; `cause` says why if the artifact was not made."""

    task: Task
    seconds: float
    status: Status
    cause: str


Work = Task | Opening
Event = Work | Opened | Outcome


@dataclass
class Running:
    """A piece of work whose process was started."""

    work: Work
    process: Process
    started: float
    over_limit: str | None = None

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started

    def cause(self) -> str:
        """Why it left no ending."""
        return self.over_limit or self.process.ended or ""


def run(
    tasks: Sequence[Task],
    processes: Spawner | Hosts,
    *,
    jobs: int,
    limits: Limits,
    openings: Sequence[Opening] = (),
    begun: Running | None = None,
) -> Iterator[Event]:
    """Yield each piece of work when its process starts, and how it went when that has ended.

    At most `jobs` processes work at once; each is killed with all its processes at its limits. Leaving the iteration
    early (Ctrl-C) ends those that still run.

    Args:
        tasks: what to make, in this order as far as formats are open.
        processes: where workers come from.
        jobs: how many work at once.
        limits: of each of them.
        openings: of formats with shared work; the others have none.
        begun: what `open_ahead` has started.
    """
    waiting, running = list(tasks), list[Running]()
    hosts: dict[FormatName, Running] = {}
    memory_due = 0.0
    try:
        if begun is not None:
            assert isinstance(begun.work, Opening)
            begun.started = time.monotonic()  # from here on it is shown and its limits are watched
            running.append(begun)
            hosts[begun.work.format] = begun
            yield begun.work
        while waiting or running:
            while len(running) < jobs and (work := _next(waiting, hosts, openings, processes)) is not None:
                running.append(_start(work, processes))
                if isinstance(work, Task):
                    waiting.remove(work)
                else:
                    hosts[work.format] = running[-1]
                yield work
            processes.wait(POLL_S)
            if time.monotonic() >= memory_due:
                _enforce(running, limits)
                memory_due = time.monotonic() + MEMORY_POLL_S
            for worker in [worker for worker in running if _is_done(worker, processes)]:
                running.remove(worker)
                if isinstance(worker.work, Task):
                    yield _outcome(worker, worker.work)
                elif worker.process.ended is None:
                    yield Opened(worker.work, worker.seconds)
            dead = {name: host for name, host in hosts.items() if host.process.ended is not None}
            lost = [task for task in waiting if task.target.format in dead]
            waiting = [task for task in waiting if task not in lost]
            for task in lost:
                yield _lost(task, dead[task.target.format], processes)
    finally:
        processes.close()
        for worker in running:
            _clean_up(worker)


def open_ahead(tasks: Sequence[Task], processes: Spawner | Hosts, openings: Sequence[Opening]) -> Running | None:
    """Begin to open the first task's format, so that this process can still write the orders meanwhile.

    Returns:
        What `run` goes on with, its time counted from then on; None where nothing has to be opened.
    """
    work = _next(tasks[:1], (), openings, processes)
    return _start(work, processes) if isinstance(work, Opening) else None


def _next(
    waiting: Sequence[Task], hosts: Container[FormatName], openings: Sequence[Opening], processes: Spawner | Hosts
) -> Work | None:
    """The first task whose format is open, or the opening of a format before it; None while all of them wait."""
    orders = {opening.format: opening for opening in openings}
    for task in waiting:
        name = task.target.format
        if processes.is_open(name):
            return task
        if name not in hosts:
            return orders.get(name) or Opening(name, None, task.ending.with_name(f"{name}.ending"))
    return None


def _start(work: Work, processes: Spawner | Hosts) -> Running:
    started = time.monotonic()
    if isinstance(work, Task):
        work.log.parent.mkdir(parents=True, exist_ok=True)
        return Running(work, processes.start(work.target.format, work.order, work.log), started)
    assert isinstance(processes, Hosts), "only hosts have to be opened"
    return Running(work, processes.open(work.format, work.order, work.ending), started)


def _is_done(worker: Running, processes: Spawner | Hosts) -> bool:
    """Whether a process has ended, or a host has opened and only waits from here on."""
    return worker.process.ended is not None or (
        isinstance(worker.work, Opening) and processes.is_open(worker.work.format)
    )


def _lost(task: Task, host: Running, processes: Spawner | Hosts) -> Outcome:
    """An artifact whose format's host has ended before its worker was started; it gets the host's log as its own."""
    assert isinstance(processes, Hosts)
    assert isinstance(host.work, Opening)
    shutil.copyfile(processes.log_of(host.work.format), task.log)
    try:
        told = Ending.read(host.work.ending).cause
    except UsageError:
        told = ""
    return Outcome(task, host.seconds, "failed", told or host.cause())


def worker_limits(jobs: int, memory_gib: float | None, timeout_s: float) -> Limits:
    """What each of `jobs` workers may take; without `memory_gib` an equal share of the free memory."""
    share = max(LEAST_CAP_BYTES, (available_bytes() or 0) // jobs)
    return Limits(share if memory_gib is None else int(memory_gib * 2**30), timeout_s)


def processes(scratch: Path, model: str) -> Spawner | Hosts:
    """Where this system's workers come from; hosts begin to import what all of them need. `run` closes it.

    Args:
        scratch: folder for logs of hosts.
        model: name of the network, as in the card.
    """
    return Hosts(scratch, model) if can_fork() else Spawner()


def default_jobs() -> int:
    """As many workers as there are cores, but no more than the free memory holds."""
    available = available_bytes()
    by_memory = available // WORKER_MEMORY_BYTES if available else usable_cores()
    return max(1, min(usable_cores(), by_memory))


def longest_first(tasks: Sequence[Task]) -> list[Task]:
    """Tasks in the order in which they should start, so that no worker idles while the last one runs."""

    def usual_seconds(task: Task) -> float:
        opening, fp32, other = _USUAL_SECONDS.get(task.target.format, (10, 10, 10))
        return opening + (fp32 if task.target.precision == "fp32" else other)

    return sorted(tasks, key=usual_seconds, reverse=True)


def _enforce(running: Sequence[Running], limits: Limits) -> None:
    """Kill the workers that are over a limit, and note which."""
    held_bytes = resident_bytes()
    for worker in running:
        held = held_bytes.get(worker.process.pid, 0) if worker.process.pid is not None else 0
        worker.over_limit = worker.over_limit or over_limit(held, worker.seconds, limits)
        if worker.over_limit:
            worker.process.kill()


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


def _clean_up(worker: Running) -> None:
    """A killed worker cannot remove the folder it was building in."""
    if isinstance(worker.work, Task) and worker.process.pid is not None:
        shutil.rmtree(staging_path(worker.work.folder, worker.process.pid), ignore_errors=True)


def _outcome(worker: Running, task: Task) -> Outcome:
    _clean_up(worker)
    if worker.over_limit:
        return Outcome(task, worker.seconds, "failed", worker.over_limit)
    try:
        ending = Ending.read(task.ending)
    except UsageError:
        return Outcome(task, worker.seconds, "failed", worker.cause())
    return Outcome(task, worker.seconds, ending.status, ending.cause)
