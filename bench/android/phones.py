"""Measuring cells on one phone: launches interleaved over the cells, throttled cells measured once more."""

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from rich.markup import escape

from bench.android.accelerators import ACCELERATORS, CPU
from bench.android.adb import AdbFailed, Phone
from bench.android.answers import PathPack, Prepared, Questions, place_of, prepared, push_pictures, take
from bench.android.identity import identify
from bench.android.instruments import App, Instrument
from bench.android.launch import Launched, Launcher, LaunchFailed, PhoneGone, Tell
from bench.android.quiet import quieted
from bench.android.runtimes import fit
from bench.android.state import LOW_BATTERY_PERCENT, Gate, mean_mhz, snapshot
from bench.protocol import ModelResult, Stages
from bench.record import Conditions, Device, Launch, Measurement
from bench.record.repeated import SeenOutput
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.cells import Cell, NotMeasured, Plan, describe_artifact
from bench.session.repeats import of_all_launches
from bench.session.resume import Place
from bench.session.row import Accuracy, Footprint, LaunchSeen, Session, StageSamples, row
from bench.timing.judge import Trace, judge
from bench.timing.loop import NS_PER_MS, Limits
from bench.timing.statistics import Label
from distill.terminal import say
from export.artifact.manifest import Manifest

LAUNCHES = 3
SEED = 0
"""Of the order of cells in each round."""


@dataclass
class CellRun:
    """What has been seen of one cell so far.

    Attributes:
        failure: why it has no measurement.
        doubt: why it is not known whether the phone's runtime is new enough.
        told: its row was given away.
    """

    cell: Cell
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    launches: list[Launched] = field(default_factory=list)
    accuracy: Accuracy = field(default_factory=Accuracy)
    path: PathPack | None = None
    failure: str | None = None
    doubt: str | None = None
    told: bool = False


@dataclass(frozen=True)
class PhoneBench:
    """Measures cells on one phone.

    Attributes:
        phone: chosen and reachable.
        instrument: what measures on it.
        limits: when warm-up and sampling stop.
        timeout_s: limit of one launch.
        launches: processes per cell.
        gate: when the phone is cool enough.
        fixed_performance: hold the clocks at a level the phone can keep up.
        path: whether the whole path is timed, and with what.
        accuracy: how many held-out pictures every model answers there.
        accelerators: what is asked to run the models, each in rows of its own.
        repeats: calls with one input in each launch, whose outputs are compared.
        poll_s: pause between two looks at a running launch.
        back_limit_s: how long to wait for a phone that went away.
    """

    phone: Phone
    instrument: Instrument = field(default_factory=App)
    limits: Limits = field(default_factory=Limits)
    timeout_s: float = 120.0
    launches: int = LAUNCHES
    gate: Gate = field(default_factory=Gate)
    fixed_performance: bool = False
    path: PathOptions = field(default_factory=PathOptions)
    accuracy: AccuracyOptions = field(default_factory=AccuracyOptions)
    accelerators: tuple[str, ...] = (CPU,)
    repeats: int = 1
    poll_s: float = 1.0
    back_limit_s: float = 120.0

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this instrument cannot run an artifact, or None."""
        if manifest.format in self.instrument.formats:
            return None
        return f"the {self.instrument.name} instrument runs {', '.join(sorted(self.instrument.formats))} on a phone"

    def caution(self) -> str | None:
        """What about the phone's state will spoil the measurements, or None.

        Raises:
            UsageError: the phone cannot be measured with this instrument; nothing was changed on it.
        """
        self.instrument.prepare(self.phone, identify(self.phone))
        now = snapshot(self.phone)
        if now.battery_percent is not None and now.battery_percent < LOW_BATTERY_PERCENT:
            return (
                f"the battery is at {now.battery_percent} %; many phones cap their clocks below {LOW_BATTERY_PERCENT} %"
            )
        if now.powered is False:
            return "the phone is not charging; its screen may go dark while it is measured"
        if now.thermal_status is None and now.battery_celsius is None:
            return "this phone reports no temperature; throttling can only be seen in its clocks and samples"
        return None

    def spread(self, plan: Plan) -> Plan:
        """The plan with one cell for each accelerator asked for, and what of it cannot be had."""
        return by_accelerator(plan, self.accelerators)

    def place(self) -> Place:
        """Which rows of a journal are its own."""
        return Place("android", self.phone.serial, self.instrument.name)

    def measure_all(self, cells: Sequence[Cell], *, run_id: str, tell: Tell) -> Generator[tuple[Cell, Measurement]]:
        """Measure all cells, as `measure_with`; what needs no phone is done before it is touched."""
        with prepared(cells, self.accuracy, self.path, tell) as ready:
            yield from self.measure_with(ready, cells, run_id=run_id, tell=tell)

    def measure_with(
        self, ready: Prepared, cells: Sequence[Cell], *, run_id: str, tell: Tell
    ) -> Generator[tuple[Cell, Measurement]]:
        """Measure all cells, each in several launches, in a new order in every round; rows come as cells are complete.

        First every model answers the pictures, if it is asked. A cell that was throttled gives a row that says so, and
        is measured once more after the others. Ctrl-C and a phone that goes away end the launches, not the rows of
        cells that have some.

        Args:
            ready: pictures to be answered, and to time the whole path with.
            cells: what is measured.
            run_id: of the session.
            tell: shows what is going on.

        Raises:
            UsageError: the phone cannot be measured; nothing was started.
        """
        identity = identify(self.phone)
        device = identity.device(self.instrument.name)
        runs = [CellRun(cell, path=ready.paths.get(cell.folder) if cell.batch == 1 else None) for cell in cells]
        self._compare_runtimes(runs)
        for run in runs:
            if run.failure is not None:
                yield run.cell, self.row(run, device, run_id)
        if all(run.told for run in runs):
            return
        stopped: PhoneGone | KeyboardInterrupt | None = None
        with quieted(self.phone, instrument=self.instrument.name, fixed_performance=self.fixed_performance) as quiet:
            launcher = Launcher(
                quiet,
                identity,
                self.instrument,
                self.limits,
                self.timeout_s,
                self.gate,
                self.poll_s,
                self.back_limit_s,
                tell,
            )
            try:
                self._take_answers(runs, ready.questions, launcher, run_id)
                self._bring_path_pictures(runs, launcher)
                for run in self._rounds(runs, launcher):
                    yield run.cell, self.row(run, device, run_id)
            except (PhoneGone, KeyboardInterrupt) as error:
                stopped = error
        for run in (run for run in runs if stopped and not run.told):
            if isinstance(stopped, PhoneGone) and not run.launches:
                run.failure = str(stopped)
            if run.launches or run.failure:
                yield run.cell, self.row(run, device, run_id)
        if isinstance(stopped, KeyboardInterrupt):
            raise stopped

    def _compare_runtimes(self, runs: list[CellRun]) -> None:
        """Fail the cells that the runtimes on the phone are too old for; say what is not known."""
        runtimes = self.instrument.runtimes(self.phone)
        for run in runs:
            fitness = fit(run.cell.manifest, runtimes)
            run.failure, run.doubt = fitness.refusal, fitness.doubt
        for doubt in dict.fromkeys(run.doubt for run in runs if run.doubt):
            say(f"[yellow]{escape(self.phone.serial)}:[/] {escape(doubt)}; measuring anyway")

    def _take_answers(self, runs: list[CellRun], questions: Questions, launcher: Launcher, run_id: str) -> None:
        asked = [run.cell for run in runs if questions and run.failure is None]
        for place, accuracy in take(asked, questions, launcher, self.accuracy.keep / run_id):
            for run in runs:
                if place_of(run.cell) == place:
                    run.accuracy = accuracy

    def _bring_path_pictures(self, runs: list[CellRun], launcher: Launcher) -> None:
        """Once for all launches; without room for them the whole path is not timed."""
        packs = {run.path.pack.sha256: run.path.pack for run in runs if run.path and run.failure is None}
        try:
            push_pictures(launcher, list(packs.values()), "pictures of the whole path")
        except PhoneGone:
            raise
        except (AdbFailed, LaunchFailed) as error:
            say(f"[yellow]{escape(self.phone.serial)}:[/] the whole path is not timed: {escape(str(error))}")
            for run in runs:
                run.path = None

    def _rounds(self, runs: list[CellRun], launcher: Launcher) -> Iterator[CellRun]:
        """Launch every cell once per round; gives back each cell that is complete or has failed."""
        shuffle = random.Random(SEED)
        for number in range(1, self.launches + 1):
            order = [run for run in runs if run.failure is None]
            shuffle.shuffle(order)
            for run in order:
                self._launch(run, launcher, f"launch {number} of {self.launches}")
                if run.failure is not None or number == self.launches:
                    yield run
        for run in runs:
            if run.failure is None and any(launch.held_back for launch in run.launches):
                self._repeat(run, launcher)
                yield run

    def _repeat(self, run: CellRun, launcher: Launcher) -> None:
        kept = [launch for launch in run.launches if not launch.held_back]
        run.launches, run.told, count = kept, False, len(run.launches) - len(kept)
        for _ in range(count):
            if run.failure is None:
                self._launch(run, launcher, "again after throttling")

    def _launch(self, run: CellRun, launcher: Launcher, note: str) -> None:
        manifest = run.cell.manifest
        note = f"{manifest.format} {manifest.precision} {note}"
        try:
            pictures = [run.path.pack] if run.path else []
            run.launches.append(launcher.launch(run.cell, note=note, repeats=self.repeats, pictures=pictures))
        except LaunchFailed as error:
            run.failure = f"{error}; {run.doubt}" if run.doubt else str(error)

    def row(self, run: CellRun, device: Device, run_id: str) -> Measurement:
        """What has been seen of a cell, as a measurement."""
        run.told = True
        launches = run.launches if run.failure is None else []
        verdict = Label("failed", run.failure) if run.failure is not None else row_label(launches, self.launches)
        peaks = [launched.result.peak_memory_bytes for launched in launches if launched.result.peak_memory_bytes]
        return row(
            run.cell,
            [_seen(launched) for launched in launches],
            Session(run_id, SEED, device),
            began=run.began,
            conditions=_conditions(launches, fixed_performance=self.fixed_performance),
            validity=verdict.validity,
            reason=verdict.reason,
            footprint=Footprint(peak_bytes=max(peaks, default=None)),
            accuracy=run.accuracy,
            path_of=run.path.of if run.path else None,
            repeated=of_all_launches([_outputs(launched.result) for launched in launches]),
        )


def by_accelerator(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with one cell for each accelerator, and what of it cannot be had."""
    cells = [cell for cell in plan.cells if CPU in names]
    missing: list[NotMeasured] = []
    for name in (name for name in names if name != CPU):
        cells += [replace(cell, asked=name) for cell in plan.cells if cell.manifest.format in ACCELERATORS[name]]
        others = {cell.folder: cell.manifest for cell in plan.cells if cell.manifest.format not in ACCELERATORS[name]}
        why = f"there is no {name} for {{}} on a phone, only for {', '.join(sorted(ACCELERATORS[name]))}"
        missing += [
            NotMeasured(f"{describe_artifact(manifest)} on {name}", why.format(manifest.format), broken=False)
            for manifest in others.values()
        ]
    return Plan(tuple(cells), (*plan.not_measured, *missing))


def unmeasured(cell: Cell, bench: PhoneBench, run_id: str, reason: str) -> Measurement:
    """A failed row of a phone that could not even be asked who it is."""
    device = Device(
        kind="android",
        name=bench.phone.serial,
        os="unknown",
        cores=1,
        memory_bytes=0,
        instrument=bench.instrument.name,
        serial=bench.phone.serial,
        emulated=False,
    )
    return bench.row(CellRun(cell, failure=reason), device, run_id)


def row_label(launches: Sequence[Launched], wanted: int) -> Label:
    """The label of a row: what the phone says of throttling first, then what the samples say, as for every device."""
    counted = f"{len(launches)} of {wanted} launches"
    if hot := [launch.held_back for launch in launches if launch.held_back]:
        return Label("throttled", f"{hot[0]}; {counted}")
    label = judge([_trace(launch) for launch in launches])
    is_short = len(launches) < wanted and label.validity == "valid"
    return Label("noisy" if is_short else label.validity, f"{counted}; {label.reason}")


def _seen(launched: Launched) -> LaunchSeen:
    result = launched.result
    return LaunchSeen(
        runtime=result.runtime,
        runtime_version=result.runtime_version,
        threads_active=result.threads_active,
        accelerator_active=result.accelerator_active,
        input="golden" if launched.golden else "random",
        launch=_launch_record(result),
        samples_ms=samples_ms(launched),
        path=_stages(result.stages) if result.stages else None,
    )


def _stages(stages: Stages) -> StageSamples:
    ns_by_name = {name.removesuffix("_ns"): values for name, values in stages.model_dump().items()}
    return StageSamples(**{f"{name}_ms": tuple(ns / NS_PER_MS for ns in values) for name, values in ns_by_name.items()})


def _trace(launched: Launched) -> Trace:
    return Trace(
        launch=_launch_record(launched.result),
        samples_ms=tuple(samples_ms(launched)),
        mhz_before=None,
        mhz_after=None,
        throttled=None,
    )


def samples_ms(launched: Launched) -> list[float]:
    """The samples of one launch in milliseconds."""
    return [ns / NS_PER_MS for ns in launched.result.samples_ns]


def _outputs(result: ModelResult) -> list[SeenOutput]:
    return [SeenOutput(**seen.model_dump(), launches=1) for seen in result.outputs]


def _launch_record(result: ModelResult) -> Launch:
    return Launch(
        sample_count=len(result.samples_ns),
        warmup_count=result.warmup_count,
        warmup_s=result.warmup_s,
        steady=None,
        load_ms=result.load_ms,
        first_inference_ms=result.first_inference_ms,
        other_work_share=None,
        stolen_share=None,
        waiting_share=None,
    )


def _conditions(launches: Sequence[Launched], *, fixed_performance: bool) -> Conditions:
    first, last = (launches[0], launches[-1]) if launches else (None, None)
    return Conditions(
        load_average_before=None,
        busy_share_before=None,
        cpu_mhz_before=mean_mhz(first.before, first.after) if first else None,
        cpu_mhz_after=mean_mhz(last.before, last.after) if last else None,
        temperature_celsius=first.before.hottest_celsius if first else None,
        thermal_status=max((seen.thermal_status for seen in launches if seen.thermal_status is not None), default=None),
        battery_celsius=first.before.battery_celsius if first else None,
        battery_percent=first.before.battery_percent if first else None,
        hot_start=any(seen.hot_start for seen in launches),
        fixed_performance=fixed_performance,
    )
