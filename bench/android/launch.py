"""One launch: push a model and its job, start the instrument, wait, collect, verify, clean up."""

import hashlib
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.android.accelerators import active_by_log
from bench.android.adb import AdbFailed, AdbTimeout, DeviceLost, Phone
from bench.android.identity import Identity, boot_id
from bench.android.instruments import Instrument
from bench.android.quiet import RUNS_FOLDER, QuietPhone, remove_run
from bench.android.state import THERMAL_WORDS, Gate, Snapshot, snapshot, throttling
from bench.protocol import (
    JOB_FILE,
    Job,
    JobModel,
    ModelResult,
    PicturePack,
    PictureRule,
    Result,
    Task,
    logits_file,
    progress_file,
    result_file,
)
from bench.session.answers.judge import Logits, Unreadable
from bench.session.answers.packs import Pack
from bench.session.cells import Cell
from bench.session.golden import check_output, model_input
from bench.timing.loop import NS_PER_S, Limits
from distill.contract import sha256_of_file, write_whole
from distill.errors import ToolError, UsageError, WorkFailed
from export.artifact.manifest import Manifest, read_artifact
from export.artifact.runner import Batch

MODEL_ID = "model_0"
MODEL_FILE = "model_0.bin"
INPUT_FILE = "input_0.bin"
TELL_ABOVE_BYTES = 8_000_000
FIRST_LINE_LIMIT_S = 30.0
"""An instrument that was started and has not said a word by then will not."""

EXIT_INFO_API_LEVEL = 30
EXIT_LOOKS = 3
RESTARTED = "{} restarted while it was measuring; what ran on it is lost"
SPACE_FACTOR = 3
"""The phone needs this many times the model's size: the file, the app's copy, a cache of packed weights."""

Tell = Callable[[str], None]
T = TypeVar("T")


class LaunchFailed(WorkFailed):
    """This launch gave no measurement; the phone is still there, and other cells go on."""


class PhoneGone(WorkFailed):
    """The phone went away and did not come back; nothing more can be measured on it."""


@dataclass(frozen=True)
class Launched:
    """What one launch saw.

    Attributes:
        result: of the one model.
        golden: True if the output was compared with the artifact's golden one.
        before, after: the phone around it.
        held_back: evidence of throttling in words, or None.
        hot_start: it began though the phone had not cooled down.
    """

    result: ModelResult
    golden: bool
    before: Snapshot
    after: Snapshot
    held_back: str | None
    hot_start: bool

    @property
    def thermal_status(self) -> int | None:
        """The highest seen before, during and after."""
        seen = [
            self.before.thermal_status,
            self.after.thermal_status,
            *(reading.thermal_status for reading in self.result.readings),
        ]
        return max((status for status in seen if status is not None), default=None)


@dataclass(frozen=True)
class Launcher:
    """Launches cells on one quieted phone.

    Attributes:
        quiet: the phone.
        identity: who it was when the session began.
        instrument: what measures.
        limits: when warm-up and sampling stop.
        timeout_s: limit of a launch from its start to its result.
        gate: when the phone is cool enough to start.
        poll_s: pause between two looks; every look costs the phone some work.
        back_limit_s: how long to wait for a phone that went away.
        tell: shows what is going on.
    """

    quiet: QuietPhone
    identity: Identity
    instrument: Instrument
    limits: Limits
    timeout_s: float
    gate: Gate
    poll_s: float
    back_limit_s: float
    tell: Tell

    @property
    def phone(self) -> Phone:
        """The phone."""
        return self.quiet.phone

    def launch(self, cell: Cell, *, note: str, repeats: int = 1, pictures: Sequence[Pack] = ()) -> Launched:
        """Wait until the phone is cool, then measure a cell once.

        Args:
            cell: what is measured.
            note: says in a word or two what is going on.
            repeats: calls with the golden input whose outputs are compared.
            pictures: what the whole path is timed with, on the phone already; none for no such timing.

        Raises:
            LaunchFailed: this cell gave no measurement.
            PhoneGone: the phone is away.
        """

        def measure(run_id: str) -> Launched:
            before, hot_start = self._when_cool(note)
            asked = Asked(cell, "time", repeats, tuple(pictures))
            seen = self._run(asked, before, run_id, note)
            refuse_cut_samples(seen.model)
            check_golden(seen.model, seen.golden, seen.manifest)
            held = held_back(seen.model, before, seen.after)
            return Launched(seen.model, seen.golden is not None, before, seen.after, held, hot_start)

        return self._noted(measure)

    def answer(self, cell: Cell, pictures: Sequence[Pack], *, note: str) -> "GivenAnswers":
        """Let a cell's model answer pictures that are on the phone already; heat does not matter.

        Raises:
            LaunchFailed: it gave no answers, or not whole.
            PhoneGone: the phone is away.
        """

        def ask(run_id: str) -> GivenAnswers:
            asked = Asked(cell, "answer", 1, tuple(pictures))
            seen = self._run(asked, snapshot(self.phone), run_id, note)
            classes, count = asked.cell.manifest.output.shape[1], sum(pack.count for pack in pictures)
            name, boot = logits_file(run_id), seen.after.boot_id
            data = self._twice(lambda: self.instrument.read(self.phone, run_folder(run_id), name), boot)
            whole = hashlib.sha256(data).hexdigest() == seen.model.logits_sha256 and len(data) == 4 * count * classes
            if seen.model.answered != count or not whole:
                raise LaunchFailed(f"the answers are not whole: {seen.model.answered} of {count}, {len(data)} bytes")
            logits = np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(count, classes)
            return GivenAnswers(logits, tuple(Unreadable(each.index, each.reason) for each in seen.model.unreadable))

        return self._noted(ask)

    def _noted(self, work: Callable[[str], T]) -> T:
        """Do the work of a launch under a run id of its own, and clean up after it."""
        run_id = uuid.uuid4().hex
        try:
            return work(run_id)
        except (AdbFailed, UsageError) as error:
            self._raise_if_gone(error)
            raise LaunchFailed(str(error)) from error
        finally:
            self._clean(run_id)

    def _when_cool(self, note: str) -> tuple[Snapshot, bool]:
        def wait() -> tuple[Snapshot, str | None]:
            return self.gate.wait(self.phone, tell=lambda text: self.tell(f"{note}: {text}"))

        try:
            before, objection = wait()
        except (DeviceLost, AdbTimeout) as error:
            # Nothing of this launch runs yet: a phone that comes back may be asked again.
            self._raise_if_gone(error)
            before, objection = wait()
        if objection is not None and not self.gate.allow_hot:
            raise LaunchFailed(
                f"the phone did not cool down within {self.gate.patience_s:.0f} s: {objection}. Let it rest, or "
                "measure anyway with --allow-hot"
            )
        return before, objection is not None

    def _run(self, asked: "Asked", before: Snapshot, run_id: str, note: str) -> "SeenLaunch":
        """Push a job, start the instrument on it, wait, collect its result and check that it is this one's."""
        cell, folder = asked.cell, run_folder(run_id)
        self.quiet.note_launch(run_id)
        self.tell(note)
        self._refuse_threads(cell)
        manifest = read_artifact(cell.folder)
        values, golden = model_input(cell.folder, manifest, batch=cell.batch)
        self._refuse_full(manifest.size_bytes)
        job = make_job(asked, manifest, values, run_id, self.limits)
        job_sha256 = self._push(cell, manifest, values, job, folder)
        try:
            self.instrument.start(self.phone, folder, run_id)
        except (DeviceLost, AdbTimeout) as error:
            # Only the answer may be lost: if the instrument did start, its result comes.
            self._wait_until_back(error, before.boot_id)
        self._wait(folder, run_id, note, before)
        result = self._collect(folder, run_id, before.boot_id)
        after = self._twice(lambda: snapshot(self.phone), before.boot_id)
        if after.boot_id != before.boot_id:
            raise LaunchFailed(RESTARTED.format(self.phone.serial))
        model = verified(result, job, job_sha256, before, self.identity, self.instrument.name)
        if model.error is not None:
            raise LaunchFailed(f"the instrument says: {model.error}")
        if cell.asked is not None and model.accelerator_active is None:
            pid = self._twice(lambda: self._look(folder, run_id), before.boot_id).pid
            log = self._twice(lambda: self.instrument.log(self.phone, folder, pid), before.boot_id)
            model = model.model_copy(update={"accelerator_active": active_by_log(cell.asked, log)})
        return SeenLaunch(model, manifest, golden, after)

    def _refuse_threads(self, cell: Cell) -> None:
        cores = len(self.identity.core_mhz)
        if cores and cell.threads > cores:
            raise LaunchFailed(
                f"{cell.threads} threads are more than the {cores} cores of this phone. Use at most {cores}."
            )

    def _refuse_full(self, model_bytes: int) -> None:
        free_bytes = free_storage_bytes(self.phone)
        if free_bytes is not None and free_bytes < SPACE_FACTOR * model_bytes:
            raise LaunchFailed(
                f"{self.phone.serial} has {free_bytes / 2**20:.1f} MB free, this model needs "
                f"{SPACE_FACTOR * model_bytes / 2**20:.1f} MB. Free some storage and measure it again."
            )

    def _push(self, cell: Cell, manifest: Manifest, values: Batch, job: Job, folder: str) -> str:
        """Everything that a job needs; returns the hash of its file."""
        model = cell.folder / manifest.file("model")
        self.phone.must(["mkdir", "-p", folder])
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            input_path, job_path = Path(scratch) / INPUT_FILE, Path(scratch) / JOB_FILE
            write_whole(input_path, values.astype("<f4").tobytes())
            job.write(job_path)
            for path, name in ((model, MODEL_FILE), (input_path, INPUT_FILE), (job_path, JOB_FILE)):
                size_bytes = path.stat().st_size
                told = self._telling(name, size_bytes) if size_bytes > TELL_ABOVE_BYTES else None
                self.phone.push(path, f"{folder}/{name}", sha256=sha256_of_file(path), told=told)
            # The app is another user than the shell: it must be able to read, and nobody to write.
            self.phone.must(["chmod", "0755", folder])
            self.phone.script(f"chmod 0644 {folder}/*")
            return sha256_of_file(job_path)

    def _telling(self, name: str, size_bytes: int) -> Callable[[int], None]:
        return lambda arrived: self.tell(f"pushing {name}: {arrived / 1e6:.0f} of {size_bytes / 1e6:.0f} MB")

    def _wait(self, folder: str, run_id: str, note: str, before: Snapshot) -> None:
        deadline, done = time.monotonic() + self.timeout_s, 0
        rate = Rate()
        first_line_deadline = time.monotonic() + min(FIRST_LINE_LIMIT_S, self.timeout_s)
        while True:
            try:
                seen = self._look(folder, run_id)
            except (DeviceLost, AdbTimeout) as error:
                self._wait_until_back(error, before.boot_id)
                continue
            if seen.finished:
                return
            if seen.stage and not seen.alive:
                # It may have written the result and ended between the two questions of one look.
                if self._look(folder, run_id).finished:
                    return
                ended = self._how_it_ended(seen.pid, before.clock)
                raise LaunchFailed(
                    f"the instrument ended without a result while {seen.stage}{ended}{self._log(folder)}"
                )
            now = time.monotonic()
            if seen.done > done:
                # Many pictures may take longer than any one launch: what counts is that it goes on.
                deadline, done = now + self.timeout_s, seen.done
            if not seen.stage and now > first_line_deadline:
                ended = self._how_it_ended(None, before.clock)
                raise LaunchFailed(f"the instrument was started and said nothing{ended}{self._log(folder)}")
            if now > deadline:
                raise LaunchFailed(
                    f"no result within {self.timeout_s:g} s, last seen {seen.stage or 'starting'}; it was stopped "
                    f"(--timeout allows more){self._log(folder)}"
                )
            # Also where a stop is asked for: a tell that raises ends the launch.
            self.tell(f"{note}: {seen.stage or 'starting'}{rate.words(seen.done, seen.total)}")
            time.sleep(self.poll_s)

    def _look(self, folder: str, run_id: str) -> "Seen":
        text = (
            f"{self.instrument.look(folder)}\n"
            f'has {result_file(run_id)} && echo finished; l=$(last {progress_file(run_id)}); echo "line $l"; '
            'p=${l#*\'"pid":\'}; p=${p# }; p=${p%%[!0-9]*}; [ -n "$p" ] && [ -d /proc/$p ] && echo alive'
        )
        answer = self.phone.script(text).stdout
        stage, pid = re.search(r'"stage": ?"([a-z]+)"', answer), re.search(r'"pid": ?(\d+)', answer)
        done, total = (re.search(rf'"{name}": ?(\d+)', answer) for name in ("done", "total"))
        return Seen(
            finished=answer.startswith("finished"),
            stage=stage.group(1) if stage else None,
            pid=int(pid.group(1)) if pid else None,
            alive=answer.rstrip().endswith("alive"),
            done=int(done.group(1)) if done else 0,
            total=int(total.group(1)) if total else 0,
        )

    def _wait_until_back(self, error: ToolError, boot: str) -> None:
        self.tell("the phone does not answer; waiting for it")
        if not self.phone.wait_until_back(timeout_s=self.back_limit_s):
            raise PhoneGone(f"the phone went away while it was measuring and did not come back. {error}") from error
        if boot_id(self.phone) != boot:
            raise LaunchFailed(RESTARTED.format(self.phone.serial)) from error

    def _twice(self, ask: Callable[[], T], boot: str) -> T:
        """An answer, asked for once more if the phone was away for a while: what it measured is still there."""
        try:
            return ask()
        except (DeviceLost, AdbTimeout) as error:
            self._wait_until_back(error, boot)
            return ask()

    def _collect(self, folder: str, run_id: str, boot: str) -> Result:
        data = self._twice(lambda: self.instrument.read(self.phone, folder, result_file(run_id)), boot)
        try:
            return Result.from_json(data, source="the phone's result")
        except UsageError as error:
            raise LaunchFailed(f"{error}{self._log(folder)}") from error

    def _how_it_ended(self, pid: int | None, since: str) -> str:
        """What the system says, which it may do a moment later than the process is gone."""
        if not self.identity.api_level >= EXIT_INFO_API_LEVEL:
            return ""
        for _ in range(EXIT_LOOKS):
            try:
                last_exit = self.instrument.last_exit(self.phone, pid, since)
            except AdbFailed:
                return ""
            if last_exit:
                return f"; Android says: {last_exit}"
            time.sleep(self.poll_s)
        return ""

    def _log(self, folder: str) -> str:
        try:
            tail = self.instrument.log_tail(self.phone, folder)
        except AdbFailed:
            return ""
        return f"; last lines of its log: {tail}" if tail else "; its log is empty"

    def _raise_if_gone(self, error: ToolError) -> None:
        """A phone that was lost outside the wait gets the same chance to come back."""
        if isinstance(error, DeviceLost | AdbTimeout) and not self.phone.wait_until_back(timeout_s=self.back_limit_s):
            raise PhoneGone(f"the phone went away and did not come back. {error}") from error

    def _clean(self, run_id: str) -> None:
        try:
            remove_run(self.phone, self.instrument, run_id)
            self.quiet.forget_launch(run_id)
        except AdbFailed as error:
            # The journal still names this launch; restoring removes it.
            self.tell(f"could not clean up: {error}")


@dataclass(frozen=True)
class Seen:
    """One look at a launch: whether the result is there, the last stage told, by which process, whether that lives.

    `done` of `total` pictures are answered; both are 0 where none are asked about.
    """

    finished: bool
    stage: str | None
    pid: int | None
    alive: bool
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Asked:
    """What one launch is to do with a cell; as in the job."""

    cell: Cell
    task: Task
    repeats: int
    pictures: tuple[Pack, ...]


@dataclass(frozen=True)
class SeenLaunch:
    """What came back of a launch: of its one model, with the golden output if there is one, and the phone after it."""

    model: ModelResult
    manifest: Manifest
    golden: Batch | None
    after: Snapshot


@dataclass(frozen=True)
class GivenAnswers:
    """Logits float32 [pictures, classes] of a device; NaN for those it does not decode."""

    logits: Logits
    unreadable: tuple[Unreadable, ...]


class Rate:
    """How fast pictures are answered, and how long the rest takes."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def words(self, done: int, total: int) -> str:
        """E.g. " 420 of 2000 pictures, 1:05 left"; empty where there are none."""
        if not total:
            return ""
        now = time.monotonic()
        began, at_first = self._first = self._first or (now, done)
        if done <= at_first or now <= began:
            return f" {done} of {total} pictures"
        left_s = round((total - done) * (now - began) / (done - at_first))
        return f" {done} of {total} pictures, {left_s // 60}:{left_s % 60:02} left"


def free_storage_bytes(phone: Phone) -> int | None:
    """Free storage where jobs lie; None if the phone does not tell."""
    answer = phone.shell(["df", "-k", RUNS_FOLDER.rsplit("/", 1)[0]])
    match = re.search(r"\s(\d+)\s+\d+%", answer.stdout)
    return int(match.group(1)) * 1024 if match else None


def run_folder(run_id: str) -> str:
    """Where a launch's files lie on the phone."""
    return f"{RUNS_FOLDER}/{run_id}"


def make_job(asked: Asked, manifest: Manifest, values: Batch, run_id: str, limits: Limits) -> Job:
    """The job of one launch."""
    cell, rule = asked.cell, manifest.preprocess
    file = next(file for file in manifest.files if file.role == "model")
    model = JobModel(
        id=MODEL_ID,
        format=manifest.format,  # pyright: ignore[reportArgumentType]
        file=MODEL_FILE,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        accelerator=cell.asked,
        input_file=INPUT_FILE,
        input_sha256=hashlib.sha256(values.astype("<f4").tobytes()).hexdigest(),
        input_name=manifest.input.name,
        input_shape=values.shape,
        output_name=manifest.output.name,
        output_shape=(cell.batch, *manifest.output.shape[1:]),
        pictures=PictureRule(
            size_px=rule.size_px,
            resize=rule.resize,
            crop_share=rule.crop_share,
            interpolation=rule.interpolation,
            channels=rule.channels,
        )
        if asked.pictures
        else None,
    )
    return Job(
        run_id=run_id,
        task=asked.task,
        repeats=asked.repeats,
        pictures=tuple(PicturePack(file=pack.name, sha256=pack.sha256, count=pack.count) for pack in asked.pictures),
        threads=cell.threads,
        batch=cell.batch,
        limits=limits,
        models=(model,),
    )


def verified(
    result: Result, job: Job, job_sha256: str, before: Snapshot, identity: Identity, instrument: str
) -> ModelResult:
    """The one model's result, if the whole is the answer to this job from this phone.

    Raises:
        LaunchFailed: it is not, or it says that the job failed.
    """
    asked = job.models[0]
    expectations = (
        ("run id", result.run_id, job.run_id),
        ("instrument", result.instrument, instrument),
        ("boot id", result.boot_id or before.boot_id, before.boot_id),
        ("job", result.job_sha256 or job_sha256, job_sha256),
    )
    for what, actual, expected in expectations:
        if actual != expected:
            raise LaunchFailed(f"this is the result of something else: {what} is {actual!r}, expected {expected!r}")
    if result.error is not None:
        raise LaunchFailed(f"the instrument says: {result.error}")
    if result.abi is not None and identity.abis and result.abi not in identity.abis[:1]:
        raise LaunchFailed(
            f"it was measured by a process of ABI {result.abi}, this phone's own is {identity.abis[0]}. Install the "
            "build for that ABI."
        )
    # Uptime counts in hundredths of a second; an old result is older by far.
    if result.began_ns < before.uptime_ns - NS_PER_S:
        raise LaunchFailed("this result was begun before this launch; it is an old one")
    if [model.id for model in result.models] != [asked.id]:
        raise LaunchFailed(f"the result is about {[model.id for model in result.models]}, expected {[asked.id]}")
    model = result.models[0]
    if model.error is None and model.sha256 != asked.sha256:
        raise LaunchFailed(f"another model was measured: SHA-256 {model.sha256}, expected {asked.sha256}")
    return model


def refuse_cut_samples(model: ModelResult) -> None:
    """Raise LaunchFailed if samples are missing or impossible."""
    if model.sample_count != len(model.samples_ns) or not model.samples_ns or min(model.samples_ns) <= 0:
        raise LaunchFailed(
            f"the samples are not whole: {len(model.samples_ns)} of {model.sample_count} are there, all must be above 0"
        )


def check_golden(model: ModelResult, golden: Batch | None, manifest: Manifest) -> None:
    """Compare the output with the artifact's golden one.

    Raises:
        LaunchFailed: it is another; a fast wrong model is not fast.
    """
    if golden is None:
        return
    values = [np.nan if value is None else value for value in model.golden_output]
    output = np.asarray(values, dtype=np.float32)
    output = output.reshape(golden.shape) if output.size == golden.size else output
    try:
        check_output(lambda: output, golden, manifest)
    except WorkFailed as error:
        raise LaunchFailed(str(error)) from error


def held_back(model: ModelResult, before: Snapshot, after: Snapshot) -> str | None:
    """Evidence of throttling before, during or after the samples, or None."""
    statuses = [reading.thermal_status for reading in model.readings if reading.thermal_status]
    if statuses:
        return f"thermal status {THERMAL_WORDS[min(max(statuses), 6)]} while measuring"
    return throttling(before, after)
