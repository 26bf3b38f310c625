"""The CPU of this machine: every cell in several processes of its own, those of all cells sampling in turn."""

import random
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.cpu import machine
from bench.cpu.accuracy import measure_accuracy
from bench.cpu.load import busy_share
from bench.cpu.worker import Job, Outcome, Task, Timed
from bench.cpu.workers import Workers
from bench.record import Conditions, Device, Measurement
from bench.session.answers.options import PathOptions
from bench.session.answers.path_pictures import path_pictures
from bench.session.cells import Cell, Plan
from bench.session.repeats import of_all_launches
from bench.session.resume import Place
from bench.session.row import Accuracy, Footprint, LaunchSeen, PathOf, Session, row
from bench.timing.judge import MAX_OTHER_WORK, Trace, judge
from bench.timing.loop import HostLimits
from bench.timing.statistics import Label
from distill.system import available_bytes
from export.artifact.manifest import Manifest
from export.artifact.runner import RUNNERS

LAUNCHES = 3
"""Never more for a row that is not known well: to stop when a row looks well known makes its interval too narrow."""

MEMORY_SHARE = 0.8
"""Of the free memory, for processes that live at once; their peaks count libraries that they share for each of them."""

UNKNOWN_BYTES = 500_000_000
"""What a process is taken to hold where its memory was not measured; torch with a small network holds 350 MB."""

T = TypeVar("T")

Tell = Callable[[str], None]


@dataclass
class CellRun:
    """What has been seen of one cell so far; `group` tells with whom its processes live."""

    cell: Cell
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    accuracy: Accuracy = field(default_factory=Accuracy)
    footprint: Footprint | None = None
    launches: list[Timed] = field(default_factory=list)
    failure: str | None = None
    group: int = 0
    pictures: tuple[str, ...] = ()
    path_of: PathOf | None = None

    def take(self, outcome: Outcome) -> None:
        """Note what one process gave."""
        if outcome.timed is not None:
            self.launches.append(outcome.timed)
        elif outcome.footprint is not None:
            self.footprint = outcome.footprint
        else:
            self.failure = outcome.failure or "the worker gave no reason"


@dataclass(frozen=True)
class MachineState:
    """This machine before the first launch."""

    device: Device
    load_average: float
    busy_share: float | None
    celsius: float | None


@dataclass(frozen=True)
class CpuBench:
    """Measures cells on this machine's CPU.

    Attributes:
        limits: when warm-up and sampling of a launch stop.
        launches: processes per cell.
        seed: of the order of the cells in each round.
        workers: how processes are run.
        memory_limit_bytes: data each may hold; None for no limit.
        memory_pass: whether memory is measured, in one more process per cell.
        accuracy_images: how many held-out images go through each artifact; 0 for none.
        data: where these lie now; None for where the manifests say.
        path: whether the whole path is timed, and with what.
        repeats: calls with one input in each launch, whose outputs are compared; 1 for no such comparison.
    """

    limits: HostLimits = field(default_factory=HostLimits)
    launches: int = LAUNCHES
    seed: int = 0
    workers: Workers = field(default_factory=Workers)
    memory_limit_bytes: int | None = None
    memory_pass: bool = True
    accuracy_images: int = 0
    data: Path | None = None
    path: PathOptions = field(default_factory=PathOptions)
    repeats: int = 1

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this machine cannot run an artifact, or None."""
        entry = RUNNERS.get(manifest.format)
        if entry is not None and entry.timed:
            return None
        return "needs macOS" if manifest.format == "coreml" else f"no runner for {manifest.format} on this machine"

    def caution(self) -> str | None:
        """What about this machine will spoil the measurements, or None."""
        busy = busy_share()
        if busy is None or busy < MAX_OTHER_WORK:
            return None
        return (
            f"other work keeps {100 * busy:.0f} % of the cores busy. Latencies will be too high, above all with "
            "several threads; stop it and measure again for figures to rely on"
        )

    def spread(self, plan: Plan) -> Plan:
        """The plan as it is: an artifact runs in one way here."""
        return plan

    def place(self) -> Place:
        """Which rows of a journal are its own."""
        return Place("cpu")

    def identify(self) -> Device:
        """What is measured on."""
        return machine.identify()

    def measure_all(self, cells: Sequence[Cell], *, run_id: str, tell: Tell) -> Generator[tuple[Cell, Measurement]]:
        """Measure all cells: accuracy and memory first, then one launch of each cell per round.

        The launches of a round live side by side and sample in turn, in short bursts. A row comes when its last launch
        is done. Whatever goes wrong with an artifact makes its own row `failed`.
        """
        before = MachineState(self.identify(), machine.load_average(), busy_share(), machine.temperature_celsius())
        runs = [CellRun(cell) for cell in cells]
        self._take_accuracy(runs, tell)
        with tempfile.TemporaryDirectory(prefix="bench-pictures-") as folder:
            self._take_path_pictures(runs, Path(folder))
            yield from self._measure(runs, before, run_id, tell)

    def _measure(
        self, runs: Sequence[CellRun], before: MachineState, run_id: str, tell: Tell
    ) -> Generator[tuple[Cell, Measurement]]:
        first = 0 if self.memory_pass else 1
        for number, shuffled in enumerate(rounds(runs, self.launches + 1 - first, seed=self.seed), start=first):
            order = [run for run in shuffled if run.failure is None]
            if number == 1:
                self._group(runs)
            with closing(self._launches(order, number, tell) if number else self._memory(order, tell)) as ended:
                for run in ended:
                    if run.failure is not None or number == self.launches:
                        yield run.cell, self._row(run, before, run_id)

    def _take_accuracy(self, runs: Sequence[CellRun], tell: Tell) -> None:
        if not self.accuracy_images:
            return
        accuracies = measure_accuracy(
            [run.cell for run in runs],
            self.accuracy_images,
            data=self.data,
            memory_limit_bytes=self.memory_limit_bytes,
            outcomes=self.workers.outcomes,
            tell=tell,
        )
        for run in runs:
            run.accuracy = accuracies[run.cell.folder]

    def _take_path_pictures(self, runs: Sequence[CellRun], folder: Path) -> None:
        """Lay the pictures of every cell's path into `folder`."""
        for run in runs if self.path.wanted else ():
            # A path ends with the likeliest classes.
            if run.cell.batch != 1 or run.cell.manifest.task != "classification":
                continue
            found = path_pictures(run.cell, self.data, self.path.picture)
            paths = [folder / f"{found.sha256[:16]}-{number}" for number in range(len(found.files))]
            for path, data in zip(paths, found.files, strict=True):
                path.write_bytes(data)
            run.pictures, run.path_of = tuple(map(str, paths)), PathOf(found.words, found.sha256)

    def _memory(self, runs: Sequence[CellRun], tell: Tell) -> Generator[CellRun]:
        """One process for each run, one after the other. Gives back each run as its process has ended."""
        with closing(self.workers.outcomes([self._job(run.cell, "memory") for run in runs])) as outcomes:
            for position, run in enumerate(runs, start=1):
                how = run.cell.variant or run.cell.manifest.precision
                tell(f"memory · {position} of {len(runs)} · {run.cell.manifest.format} {how}")
                run.take(next(outcomes))
                yield run

    def _launches(self, runs: Sequence[CellRun], number: int, tell: Tell) -> Generator[CellRun]:
        """One launch for each run, group by group. Gives back each run as its process has ended."""
        what = f"launch {number} of {self.launches}"
        shuffle = random.Random(f"{self.seed} {number}")
        groups = list(dict.fromkeys(run.group for run in runs))
        for position, name in enumerate(groups, start=1):
            group = [run for run in runs if run.group == name]
            where = f"{what} · group {position} of {len(groups)}" if len(groups) > 1 else what
            together = None if self.limits.burst_s is None else uuid.uuid4().hex
            jobs = [
                self._job(run.cell, "latency", together).model_copy(
                    update={"pictures": run.pictures, "repeats": self.repeats}
                )
                for run in group
            ]
            with closing(self.workers.in_turn(jobs, shuffle, partial(_tell_of, where, tell))) as outcomes:
                for run, outcome in zip(group, outcomes, strict=True):
                    run.take(outcome)
                    yield run

    def _group(self, runs: Sequence[CellRun]) -> None:
        """Put the runs into groups whose processes live at once, the same in every round, so that their turns pair.

        A group may hold `MEMORY_SHARE` of the free memory. Without bursts nothing is gained by living together but that
        runtimes are imported side by side.
        """
        if self.limits.burst_s is None:
            for position, run in enumerate(runs):
                run.group = position // self.workers.ahead
            return
        room = MEMORY_SHARE * (available_bytes() or self.identify().memory_bytes)
        group, held = 0, 0
        for run in runs:
            needs = (run.footprint.peak_bytes if run.footprint else None) or UNKNOWN_BYTES
            if held and held + needs > room:
                group, held = group + 1, 0
            run.group = group
            held += needs

    def _job(self, cell: Cell, task: Task, together: str | None = None) -> Job:
        return Job(
            task=task,
            folder=str(cell.folder.resolve()),
            batch=cell.batch,
            threads=cell.threads,
            limits=self.limits,
            memory_limit_bytes=self.memory_limit_bytes,
            together=together,
        )

    def _row(self, run: CellRun, before: MachineState, run_id: str) -> Measurement:
        launches = run.launches if run.failure is None else []
        verdict = judge([_trace(timed) for timed in launches]) if launches else Label("failed", run.failure or "")
        # Delegation is decided at export: a graph with delegate pieces that runs at all runs them there.
        delegation = run.cell.manifest.delegation
        accelerator = run.cell.accelerator if delegation and delegation.pieces else None
        return row(
            run.cell,
            [_seen(timed, accelerator) for timed in launches],
            Session(run_id, self.seed, before.device),
            began=run.began,
            conditions=_conditions(before, launches),
            validity=verdict.validity,
            reason=verdict.reason,
            footprint=run.footprint,
            accuracy=run.accuracy,
            path_of=run.path_of,
            repeated=of_all_launches([timed.outputs for timed in launches]),
        )


def rounds(items: Sequence[T], count: int, *, seed: int) -> Iterator[list[T]]:
    """All items in a new order in every round, so that what happens to the machine meanwhile hits all alike."""
    shuffle = random.Random(seed)
    for _ in range(count):
        yield shuffle.sample(items, len(items))


def _tell_of(where: str, tell: Tell, text: str) -> None:
    tell(f"{where} · {text}")


def _seen(timed: Timed, accelerator: str | None) -> LaunchSeen:
    return LaunchSeen(
        runtime=timed.runtime,
        runtime_version=timed.runtime_version,
        threads_active=timed.threads_active,
        accelerator_active=accelerator,
        input=timed.input,
        launch=timed.launch,
        samples_ms=timed.samples_ms,
        path=timed.path,
    )


def _trace(timed: Timed) -> Trace:
    return Trace(timed.launch, timed.samples_ms, timed.mhz_before, timed.mhz_after, timed.throttled)


def _conditions(before: MachineState, launches: Sequence[Timed]) -> Conditions:
    return Conditions(
        load_average_before=before.load_average,
        busy_share_before=before.busy_share,
        cpu_mhz_before=launches[0].mhz_before if launches else None,
        cpu_mhz_after=launches[-1].mhz_after if launches else None,
        temperature_celsius=before.celsius,
        thermal_status=None,
        battery_celsius=None,
        battery_percent=None,
        hot_start=False,
        fixed_performance=False,
    )
