"""Runs one worker per format, several side by side: a converter that crashes, hangs or eats memory costs its own
artifact only.
"""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from distill.system import available_bytes, usable_cores
from export.artifact.manifest import FormatName
from export.artifact.staging import staging_path
from export.formats import Target
from export.run import worker
from export.run.processes import Child, Limits, over_limit, resident_bytes, wait_for_words
from export.run.worker import Begun, Ended, Order, Status

WORKER_COMMAND = (sys.executable, "-m", worker.__name__)

WORKER_MEMORY_BYTES = 1_500 * 2**20
"""What the hungriest worker of a mobile network takes (measured: 1.3 GiB, most of it the toolchains themselves)."""

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
"""Measured on MobileNetV3-Small: to import a toolchain and convert, to make fp32 of it, to make another precision. Only
the order depends on them."""

_EVENTS: TypeAdapter[worker.Event] = TypeAdapter(worker.Event)


@dataclass(frozen=True)
class Task:
    """One artifact to make, and where its product, its refusal and its log lie."""

    target: Target
    inputs_sha256: str
    folder: Path
    refusal: Path
    log: Path


@dataclass(frozen=True)
class Importing:
    """The process of a format has started and imports its toolchain."""

    format: FormatName


@dataclass(frozen=True)
class Outcome:
    """How an artifact ended; `cause` says why if it was not made."""

    task: Task
    seconds: float
    status: Status
    cause: str


Event = Importing | Task | Outcome


@dataclass
class Worker:
    """The process of one format, and what it has still to make.

    Attributes:
        waiting: not begun.
        current: the artifact that is being made; None before the first and between two.
        has_begun: whether it has begun an artifact.
        since: when its present step began, in seconds of the monotonic clock.
    """

    format: FormatName
    waiting: list[Task]
    log: Path
    child: Child
    current: Task | None = None
    has_begun: bool = False
    over_limit: str | None = None
    since: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """The evidence is there; limits are watched from here on."""
        self.since = time.monotonic()
        self.child.begin()

    def listen(self) -> Iterator[Event]:
        """What has happened since, and what is lost if the process has ended."""
        for line in self.child.look():
            event = _EVENTS.validate_json(line)
            if isinstance(event, Ended):
                yield self._outcome(self._task(event), event.status, event.cause)
                self.current = None
            else:
                self.current = self._task(event)
                self.has_begun = True
                yield self.current
            self.since = time.monotonic()
        if self.child.ended is not None:
            yield from self._lost(self.over_limit or self.child.ended)

    def enforce(self, held_bytes: int, limits: Limits) -> None:
        """Kill it if it is over a limit, and note which."""
        self.over_limit = self.over_limit or over_limit(held_bytes, self._seconds(), limits)
        if self.over_limit is not None:
            self.child.kill()

    def end(self) -> None:
        """End the process; it cannot remove the folder that it was building in."""
        self.child.end()
        if self.current is not None:
            shutil.rmtree(staging_path(self.current.folder, self.child.pid), ignore_errors=True)

    def _task(self, event: Begun | Ended) -> Task:
        """The artifact of an event, which waits no longer."""
        if self.current is not None:
            return self.current
        task = next(task for task in self.waiting if task.target.precision == event.precision)
        self.waiting.remove(task)
        return task

    def _lost(self, cause: str) -> Iterator[Outcome]:
        """The artifact that the process died over, or all if it did not come as far as the first."""
        lost = [self.current] if self.current is not None else []
        if not self.has_begun:
            lost, self.waiting = self.waiting, []
            for task in lost:
                shutil.copyfile(self.log, task.log)
        for task in lost:
            yield self._outcome(task, "failed", cause)
        self.end()

    def _outcome(self, task: Task, status: Status, cause: str) -> Outcome:
        return Outcome(task, self._seconds(), status, cause)

    def _seconds(self) -> float:
        return time.monotonic() - self.since


class Pool:
    """Makes artifacts by at most `jobs` workers at once.

    Args:
        tasks: what to make; those of one format are made in this order.
        order: what a worker is told that makes some of them, of one format, with a log for what comes before.
        scratch: folder for orders and logs of workers.
        jobs: how many workers at once.
        limits: of each; what it works on when it reaches one has failed, and a new process makes the rest.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        order: Callable[[Sequence[Task], Path], Order],
        scratch: Path,
        *,
        jobs: int,
        limits: Limits,
    ) -> None:
        self._order, self._scratch, self._jobs, self._limits = order, scratch, jobs, limits
        self._waiting = longest_first(tasks)
        self._running: list[Worker] = []

    def start_ahead(self) -> None:
        """Start all workers but one, which import their toolchains and wait for the evidence that this process gathers.

        Only then is their time counted.
        """
        while len(self._running) < self._jobs - 1 and self._waiting:
            self._start()

    def run(self) -> Iterator[Event]:
        """Yield what happens until everything is made or has failed; the evidence is there.

        Leaving the iteration early (Ctrl-C) ends all workers.
        """
        memory_due = 0.0
        try:
            for ahead in self._running:
                ahead.begin()
                yield Importing(ahead.format)
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._jobs:
                    self._start().begin()
                    yield Importing(self._running[-1].format)
                wait_for_words([each.child for each in self._running], POLL_S)
                if time.monotonic() >= memory_due:
                    held_bytes = resident_bytes()
                    for each in self._running:
                        each.enforce(held_bytes.get(each.child.pid, 0), self._limits)
                    memory_due = time.monotonic() + MEMORY_POLL_S
                for each in list(self._running):
                    yield from each.listen()
                    if each.child.ended is not None or not (each.waiting or each.current):
                        self._running.remove(each)
                        each.end()
                        if each.waiting:  # by a new process
                            self._waiting.insert(0, each.waiting)
        finally:
            self.close()

    def close(self) -> None:
        """End all workers."""
        for each in self._running:
            each.end()

    def _start(self) -> Worker:
        tasks = self._waiting.pop(0)
        name = tasks[0].target.format
        order, log = self._scratch / f"{name}.json", self._scratch / f"{name}.log"
        self._order(tasks, log).write(order)
        self._running.append(Worker(name, tasks, log, Child([*WORKER_COMMAND, str(order)], log)))
        return self._running[-1]


def longest_first(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks by format, in the order in which these should start, so that no core idles while the last one runs."""
    formats: dict[FormatName, list[Task]] = defaultdict(list)
    for task in tasks:
        formats[task.target.format].append(task)

    def usual_seconds(of_format: list[Task]) -> float:
        opening, fp32, other = _USUAL_SECONDS.get(of_format[0].target.format, (10, 10, 10))
        return opening + sum(fp32 if task.target.precision == "fp32" else other for task in of_format)

    return sorted(formats.values(), key=usual_seconds, reverse=True)


def worker_limits(jobs: int, memory_gib: float | None, timeout_s: float) -> Limits:
    """What each of `jobs` workers may take; without `memory_gib` an equal share of the free memory."""
    share = max(LEAST_CAP_BYTES, (available_bytes() or 0) // jobs)
    return Limits(share if memory_gib is None else int(memory_gib * 2**30), timeout_s)


def default_jobs() -> int:
    """As many workers as there are cores, but no more than the free memory holds."""
    available = available_bytes()
    by_memory = available // WORKER_MEMORY_BYTES if available else usable_cores()
    return max(1, min(usable_cores(), by_memory))
