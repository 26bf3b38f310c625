"""Which measurements may be held against each other: those whose conditions are alike, field by field."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bench.record import Measurement

Read = Callable[[Measurement], Hashable]

DEVICE: Mapping[str, Read] = {
    "kind of device": lambda row: row.device.kind,
    "device": lambda row: row.device.name,
    "cores": lambda row: row.device.cores,
    "phone": lambda row: row.device.serial,
    "instrument": lambda row: row.device.instrument,
    "emulated": lambda row: row.device.emulated,
    "clocks held": lambda row: row.conditions.fixed_performance,
}
"""What makes two rows rows of one device. Its operating system may be a newer one, and what memory it reports may
change with that."""

CALL: Mapping[str, Read] = {
    "task": lambda row: row.subject.task,
    "batch": lambda row: row.batch,
    "threads": lambda row: row.threads,
}
"""What is asked of the model, and how it is called: what rows of different artifacts and accelerators must share beside
the device."""

ASKED: Mapping[str, Read] = {
    **DEVICE,
    **CALL,
    "accelerator asked for": lambda row: row.accelerator_requested,
}
"""What is known before a row is measured, so that a failed row has it too."""

SEEN: Mapping[str, Read] = {
    "runtime": lambda row: row.runtime,
    "accelerator active": lambda row: row.accelerator_active,
    "threads active": lambda row: row.threads_active,
}
"""What the runtime told; nothing is known of it if the row failed."""

COMPARED: Mapping[str, Read] = {
    "artifact": lambda row: row.subject.manifest_sha256[:8],
    "checkpoint": lambda row: row.subject.checkpoint_sha256[:8],
    "toolkit": lambda row: row.toolkit_version,
    "runtime version": lambda row: row.runtime_version,
    "system": lambda row: row.device.os,
    "sampled in bursts": lambda row: any(launch.burst_counts for launch in row.launches),
}
"""What may differ, because it is what a comparison is for."""


@dataclass(frozen=True)
class Difference:
    """One field in which two rows differ, and what stands in each."""

    field: str
    base: str
    new: str


def device_of(row: Measurement) -> tuple[Hashable, ...]:
    """The device a row was measured on, by which instrument, clocks held or free; equal for rows of one device."""
    return _read(DEVICE, row)


def circumstances_of(row: Measurement) -> tuple[Hashable, ...]:
    """Device, task, batch and threads: equal for rows of different artifacts that may be ranked beside each other."""
    return _read({**DEVICE, **CALL}, row)


def conditions_asked(row: Measurement) -> tuple[Hashable, ...]:
    """Everything a row was asked to be measured under; equal for rows of one artifact that may be compared."""
    return _read(ASKED, row)


def unlike(base: Measurement, new: Measurement) -> list[Difference]:
    """Every condition that forbids to hold one row against the other; empty if they are alike."""
    both_ran = base.samples_ms and new.samples_ms
    return _differences({**ASKED, **SEEN} if both_ran else ASKED, base, new)


def compared(base: Measurement, new: Measurement) -> list[Difference]:
    """Everything else that differs: the candidates for what made one faster."""
    return _differences(COMPARED, base, new)


def newest(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The latest measurement of every artifact under every conditions asked for, in the order first seen.

    Journals are put together in any order, so their time counts; of equal times the row that stands later.
    """
    last: dict[Hashable, Measurement] = {}
    for row in measurements:
        key = (row.subject.manifest_sha256, conditions_asked(row))
        if key not in last or _time(row) >= _time(last[key]):
            last[key] = row
    return list(last.values())


def in_order_of_time(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Rows of journals that were put together in any order, the oldest first; rows of one second as they stand."""
    return sorted(measurements, key=_time)


def _time(row: Measurement) -> datetime:
    return datetime.fromisoformat(row.utc_time)


def place_of(row: Measurement) -> str:
    """The device of a row in words, e.g. "Pixel 8 app 0123ABC clocks held"."""
    device = row.device
    parts = (device.name, device.instrument, device.serial, "clocks held" if row.conditions.fixed_performance else None)
    return " ".join(part for part in parts if part)


def what(row: Measurement) -> str:
    """A row in words, e.g. "mobilenet_v3_small hinton_kd onnx int8, batch 1, 2 threads"."""
    subject = row.subject
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"{subject.name} {subject.format} {subject.precision}, batch {row.batch}, {threads}"


def _read(fields: Mapping[str, Read], row: Measurement) -> tuple[Hashable, ...]:
    return tuple(read(row) for read in fields.values())


def _differences(fields: Mapping[str, Read], base: Measurement, new: Measurement) -> list[Difference]:
    values = ((name, read(base), read(new)) for name, read in fields.items())
    return [Difference(name, _in_words(its), _in_words(other)) for name, its, other in values if its != other]


def _in_words(value: Hashable) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
