"""CONTRACT 3: one measurement, one line in `measurements.jsonl`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from bench.record.answered import Answered
from bench.record.repeated import Repeated
from bench.record.upgrade import upgraded
from bench.record.whole_path import WholePath
from distill.contract import Contract, Strict, append_line
from distill.errors import UsageError
from distill.vision.tasks import TASKS, Measure, TaskName
from export.artifact.answers import Answers

Validity = Literal["valid", "noisy", "drifting", "throttled", "wrong", "failed"]
WIDE: frozenset[Validity] = frozenset({"noisy", "drifting"})
"""Labels of rows whose times are known badly: their interval is wide, and they count by its ends."""

DeviceKind = Literal["cpu", "cuda", "android"]
InputKind = Literal["golden", "random"]
Latency = Literal["model", "pipeline"]
"""What counts as a row's time: the model's call, or the whole path from picture to answer."""


class Subject(Strict):
    """What was measured. Everything a report shows of the model, so that a line stands on its own.

    Attributes:
        name: how people tell it apart, e.g. "mobilenet_v3_small hinton_kd".
        task: what it answers; `classification` in rows before version 6.
        manifest_sha256: identity of the artifact; leads to the manifest, and by `checkpoint_sha256` to the run.
        accuracy, top1_agreement: as the manifest's parity says, in [0, 1]; None where the format could not be run. Of
            masks accuracy is the mIoU, of depth the share of the pixels within a factor of 1.25.
        accuracy_images: how many held-out images stand behind those two; 0 where there are none.
        macs: multiply-accumulate operations for one image, as the manifest says; None if it does not.
        answers: which of those images it answers rightly, as the manifest says; None if it does not.
    """

    name: str
    task: TaskName
    format: str
    precision: str
    model: str
    method: str | None
    manifest_sha256: str
    checkpoint_sha256: str
    teacher_sha256: str | None
    num_parameters: int
    size_bytes: int
    accuracy: float | None
    top1_agreement: float | None
    accuracy_images: int
    macs: int | None
    answers: Answers | None

    @property
    def measure(self) -> Measure:
        """What `accuracy` is, by the task."""
        return TASKS[self.task].share


class Device(Strict):
    """Where it was measured.

    Attributes:
        kind: cpu, cuda or android.
        name: processor, GPU or phone model.
        os: operating system and version.
        cores: logical cores this process may use.
        memory_bytes: of the whole machine.
        instrument: what ran the loop on a phone: app, native or python; None where the toolkit itself did. Rows of
            different instruments are never compared.
        serial: tells two phones of one model apart; None for this machine.
        emulated: True if its times say nothing about any product.
    """

    kind: DeviceKind
    name: str
    os: str
    cores: int
    memory_bytes: int
    instrument: str | None
    serial: str | None
    emulated: bool


class GpuState(Strict):
    """What nvidia-smi says of a GPU at one moment; None where it does not tell.

    Attributes:
        sm_mhz, memory_mhz: clocks of the multiprocessors and of the memory.
        celsius, watts: temperature and power of the board.
        busy_percent: share of the last moments in which any kernel ran, whoever's.
        memory_used_bytes: by all processes.
        slowdowns: why it is slower than was asked for: heat, power; empty if it is not.
        slowed_us: how long it has been so since the driver was loaded.
    """

    sm_mhz: float | None
    memory_mhz: float | None
    celsius: float | None
    watts: float | None
    busy_percent: float | None
    memory_used_bytes: int | None
    slowdowns: tuple[str, ...] | None
    slowed_us: int | None


class Conditions(Strict):
    """The state of the machine around the run; None where the machine does not tell.

    Attributes:
        load_average_before: processes that wanted to run in the minute before.
        busy_share_before: share of all cores that worked for something else before the first launch, in [0, 1].
        temperature_celsius: the hottest sensor before the run.
        thermal_status: Android's, 0 (none) to 6 (shutdown): the highest seen during the run.
        battery_celsius, battery_percent: before the run.
        hot_start: True if the run began though the phone had not cooled down.
        fixed_performance: True if Android held the clocks at a level the phone can keep up; never to be compared with
            a phone whose clocks are free.
        gpu_before: the GPU before the first launch, at rest.
        gpu_loaded: the GPU while the model ran, right after the samples of the last launch.
    """

    load_average_before: float | None
    busy_share_before: float | None
    cpu_mhz_before: float | None
    cpu_mhz_after: float | None
    temperature_celsius: float | None
    thermal_status: int | None
    battery_celsius: float | None
    battery_percent: int | None
    hot_start: bool
    fixed_performance: bool
    gpu_before: GpuState | None = None
    gpu_loaded: GpuState | None = None


class Launch(Strict):
    """What was seen of one process launch, beside its samples.

    Attributes:
        sample_count: how many of the row's samples are its own.
        warmup_count, warmup_s: calls made and time spent before the first sample, without the first call.
        steady: whether the warm-up ended because the calls had become steady; False if it hit its cap, None if the
            instrument does not test it.
        load_ms, first_inference_ms: opening the model, and the first call.
        other_work_share: share of all cores that worked for other processes from the first call to the last sample.
        stolen_share: share of all cores that the hypervisor gave to other virtual machines in that time.
        waiting_share: time the runtime's threads were ready and had no core, all threads together, as a share of that
            time. Shares are None where the machine does not tell or the time was too short to measure them.
        burst_counts: how many samples each burst took; empty where they were all taken in one go.
        together: names the processes that lived at the same time and took their bursts in turn: the n-th bursts of
            those with one name lie side by side in time. None where samples were taken in one go.
    """

    sample_count: int
    warmup_count: int
    warmup_s: float
    steady: bool | None
    load_ms: float | None
    first_inference_ms: float | None
    other_work_share: float | None
    stolen_share: float | None
    waiting_share: float | None
    burst_counts: tuple[int, ...] = ()
    together: str | None = None

    @model_validator(mode="after")
    def _bursts_account_for_the_samples(self) -> "Launch":
        if self.burst_counts and sum(self.burst_counts) != self.sample_count:
            raise ValueError(f"the bursts have {sum(self.burst_counts)} samples, the launch has {self.sample_count}")
        return self


class Measurement(Contract):
    """Latency of one artifact on one device under one set of conditions.

    Attributes:
        run_id: the same for all rows of one `python -m bench` call.
        seed: of the order of the session's launches; None for rows of journals older than this field.
        runtime, runtime_version: what executed the model; None if the row failed before that was known.
        threads: asked for. It names the cell, so a failed row has it too.
        threads_active: what the runtime says it uses; None if the row failed before that was known.
        accelerator_requested, accelerator_active: e.g. "xnnpack", or on a GPU how it runs there, e.g. "cuda graphs
            bf16" (see `bench.session.variants`); None where the runtime has no such notion.
        batch: images per call; every latency is per batch, never per image.
        input: the artifact's golden input (then its output was checked too), or seeded random values in [0, 1].
        samples_ms: every timed call of all launches, in order, none removed; on a GPU between two of its events.
        launches: the process launches in order; their counts add up to the samples. Empty if the row failed.
        load_ms, first_inference_ms: medians over the launches.
        runtime_memory_bytes, loaded_memory_bytes: resident memory of a process of its own once the runtime is
            imported, and once the model is open; None where that was not measured.
        peak_memory_bytes: highest resident memory of a measuring process, runtime and libraries included. On a GPU
            these are bytes of torch's allocator there.
        measured_accuracy: share of correct predictions of this very artifact on this device, in [0, 1].
        measured_agreement: share of images for which it predicts what the eager artifact of its checkpoint predicts.
        measured_images: how many held-out images stand behind those two; 0 if it was not asked for.
        measured_note: why one of the two is None though images were asked for; empty otherwise.
        answered: what else these answers say; None if there are none, or in rows older than this field.
        path: stage by stage from picture to answer; None where it was not timed.
        repeated: the outputs of one input in all launches; None where they were not compared.
        validity, reason: label of the row and what led to it; `failed` rows have no samples, what a `wrong` one answers
            is not what its model answers.
        utc_time: ISO 8601, when the measurement began.
        toolkit_version: version of this package.
    """

    SCHEMA_VERSION: ClassVar[int] = 6

    schema_version: Literal[6] = 6
    run_id: str
    seed: int | None
    utc_time: str
    toolkit_version: str
    subject: Subject
    device: Device
    conditions: Conditions
    runtime: str | None
    runtime_version: str | None
    threads: int
    threads_active: int | None
    accelerator_requested: str | None
    accelerator_active: str | None
    batch: int
    input: InputKind | None
    samples_ms: tuple[float, ...]
    launches: tuple[Launch, ...]
    load_ms: float | None
    first_inference_ms: float | None
    runtime_memory_bytes: int | None
    loaded_memory_bytes: int | None
    peak_memory_bytes: int | None
    measured_accuracy: float | None
    measured_agreement: float | None
    measured_images: int
    measured_note: str
    answered: Answered | None
    path: WholePath | None
    repeated: Repeated | None
    validity: Validity
    reason: str

    @model_validator(mode="after")
    def _launches_account_for_the_samples(self) -> "Measurement":
        counted = sum(self.launch_counts)
        if counted != len(self.samples_ms):
            raise ValueError(f"the launches have {counted} samples, the row has {len(self.samples_ms)}")
        return self

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """As `bench.record.upgrade` has it."""
        return upgraded(raw)

    @property
    def wrong(self) -> str | None:
        """Why these are not the model's times on a product, so that the row is never ranked; None if they are."""
        if self.device.emulated:
            return "emulated device: its times say nothing of any product"
        return None if self.validity == "valid" or self.validity in WIDE else f"its row is {self.validity}"

    @property
    def fell_back(self) -> str | None:
        """That another accelerator ran than was asked for, in words; None if it did not, or nothing was asked for."""
        asked, ran = self.accelerator_requested, self.accelerator_active
        if not asked or not self.samples_ms or (ran and asked in (ran, *ran.split("+"))):
            return None
        return f"{asked} was asked for, {ran or 'nothing that is known'} was active"

    @property
    def is_of_path(self) -> bool:
        """Whether the samples are those of the whole path (`timed_by`)."""
        return self.path is not None and self.samples_ms == self.path.total_ms

    def timed_by(self, latency: Latency) -> "Measurement | None":
        """The row with the samples that count; None if they were not taken.

        Args:
            latency: `model` for the model's call, `pipeline` for the whole path from picture to answer.
        """
        if latency == "model" or self.path is None:
            return self if latency == "model" else None
        taken_alone = {"burst_counts": (), "together": None}
        launches = [
            launch.model_copy(update={"sample_count": count, **taken_alone})
            for launch, count in zip(self.launches, self.path.launch_counts, strict=False)
        ]
        return self.model_copy(update={"samples_ms": self.path.total_ms, "launches": tuple(launches)})

    @property
    def launch_counts(self) -> tuple[int, ...]:
        """How many samples each launch took."""
        return tuple(launch.sample_count for launch in self.launches)

    @property
    def samples_by_launch(self) -> tuple[tuple[float, ...], ...]:
        """The samples of each launch, in milliseconds."""
        ends = accumulate(self.launch_counts)
        return tuple(self.samples_ms[end - count : end] for end, count in zip(ends, self.launch_counts, strict=True))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As of every record, without what was derived from the old fields."""
        copied = super().model_copy(update=update, deep=deep)
        vars(copied).pop("burst_medians_ms", None)
        return copied

    @cached_property
    def burst_medians_ms(self) -> dict[str, list[float]]:
        """The median of every burst of the launches that took them in turn with others, by the name of the group."""
        return {
            launch.together: [median(burst) for burst in _bursts(launch, samples)]
            for launch, samples in zip(self.launches, self.samples_by_launch, strict=True)
            if launch.together is not None
        }


def _bursts(launch: Launch, samples: tuple[float, ...]) -> list[tuple[float, ...]]:
    ends = accumulate(launch.burst_counts)
    return [samples[end - count : end] for end, count in zip(ends, launch.burst_counts, strict=True)]


@dataclass(frozen=True)
class Journal:
    """What a journal holds.

    Attributes:
        measurements: every whole line, in the order written.
        cut_lines: numbers (from 1) of lines a crash left unfinished. Their cells count as not measured.
    """

    measurements: tuple[Measurement, ...]
    cut_lines: tuple[int, ...]


def append(path: Path, measurement: Measurement) -> None:
    """Add one line to the journal; earlier lines are never touched."""
    append_line(path, measurement.to_json(indent=None))


def read_journal(path: Path) -> Journal:
    """Every measurement of a journal, in order. A line cut off by a crash is named, not fatal: the others are whole.

    Lines of older schema versions are read as `bench.record.upgrade` says.

    Raises:
        UsageError: no such file, or a line that is whole but not a valid measurement (names the line).
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist. Measure something first: python -m bench ARTIFACT --device cpu")
    measurements: list[Measurement] = []
    cut_lines: list[int] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        if _is_cut(line):
            cut_lines.append(number)
        else:
            measurements.append(Measurement.from_json(line, source=f"{path} line {number}"))
    return Journal(tuple(measurements), tuple(cut_lines))


def _is_cut(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
