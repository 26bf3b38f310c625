"""CONTRACT 3: one measurement, one line in `measurements.jsonl`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from distill.contract import Contract, Strict, append_line
from distill.errors import UsageError

Validity = Literal["valid", "noisy", "drifting", "throttled", "failed"]
DeviceKind = Literal["cpu", "cuda", "android"]
InputKind = Literal["golden", "random"]


class Subject(Strict):
    """What was measured. Everything a report shows of the model, so that a line stands on its own.

    Attributes:
        name: how people tell it apart, e.g. "mobilenet_v3_small hinton_kd".
        manifest_sha256: identity of the artifact; leads to the manifest, and by `checkpoint_sha256` to the run.
        accuracy, top1_agreement: as the manifest's parity says, in [0, 1]; None where the format could not be run.
        accuracy_images: how many held-out images stand behind those two; 0 where there are none.
    """

    name: str
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


class Conditions(Strict):
    """The state of the machine around the run; None where the machine does not tell.

    Attributes:
        temperature_celsius: the hottest sensor before the run.
        thermal_status: Android's, 0 (none) to 6 (shutdown): the highest seen during the run.
        battery_celsius, battery_percent: before the run.
        hot_start: True if the run began though the phone had not cooled down.
    """

    load_average_before: float | None
    cpu_mhz_before: float | None
    cpu_mhz_after: float | None
    temperature_celsius: float | None
    thermal_status: int | None
    battery_celsius: float | None
    battery_percent: int | None
    hot_start: bool


class Measurement(Contract):
    """Latency of one artifact on one device under one set of conditions.

    Attributes:
        run_id: the same for all rows of one `python -m bench` call.
        runtime, runtime_version: what executed the model; None if the row failed before that was known.
        threads: asked for. It names the cell, so a failed row has it too.
        threads_active: what the runtime says it uses; None if the row failed before that was known.
        accelerator_requested, accelerator_active: e.g. "xnnpack"; None where the runtime has no such notion.
        batch: images per call; every latency is per batch, never per image.
        input: the artifact's golden input (then its output was checked too), or seeded random values in [0, 1].
        warmup_count, warmup_s: calls made and time spent before the first sample.
        samples_ms: every timed call, in order, none removed.
        launch_counts: how many of the samples belong to each process launch, in order; empty if there was one launch.
        load_ms, first_inference_ms: opening the model, and the first call.
        peak_memory_bytes: highest resident memory of the measuring process, runtime and libraries included.
        validity, reason: label of the row and what led to it; `failed` rows have no samples.
        utc_time: ISO 8601, when the measurement began.
        toolkit_version: version of this package.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    run_id: str
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
    warmup_count: int
    warmup_s: float
    samples_ms: tuple[float, ...]
    launch_counts: tuple[int, ...]
    load_ms: float | None
    first_inference_ms: float | None
    peak_memory_bytes: int | None
    validity: Validity
    reason: str


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
