"""Which measurements may be held against each other: those whose conditions are alike, field by field."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from bench.record import Measurement

Read = Callable[[Measurement], Hashable]

ASKED: Mapping[str, Read] = {
    "kind of device": lambda row: row.device.kind,
    "device": lambda row: row.device.name,
    "cores": lambda row: row.device.cores,
    "phone": lambda row: row.device.serial,
    "instrument": lambda row: row.device.instrument,
    "emulated": lambda row: row.device.emulated,
    "clocks held": lambda row: row.conditions.fixed_performance,
    "accelerator asked for": lambda row: row.accelerator_requested,
    "batch": lambda row: row.batch,
    "threads": lambda row: row.threads,
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


def conditions_asked(row: Measurement) -> tuple[Hashable, ...]:
    """The conditions a row was asked to be measured under; equal for rows that may be compared."""
    return tuple(read(row) for read in ASKED.values())


def unlike(base: Measurement, new: Measurement) -> list[Difference]:
    """Every condition that forbids to hold one row against the other; empty if they are alike."""
    both_ran = base.samples_ms and new.samples_ms
    return _differences({**ASKED, **SEEN} if both_ran else ASKED, base, new)


def compared(base: Measurement, new: Measurement) -> list[Difference]:
    """Everything else that differs: the candidates for what made one faster."""
    return _differences(COMPARED, base, new)


def newest(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The last measurement of every artifact under every conditions asked for, in the order first seen."""
    found: dict[Hashable, Measurement] = {}
    for one in measurements:
        found[(one.subject.manifest_sha256, conditions_asked(one))] = one
    return list(found.values())


def what(row: Measurement) -> str:
    """A row in words, e.g. "mobilenet_v3_small hinton_kd onnx int8, batch 1, 2 threads"."""
    subject = row.subject
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"{subject.name} {subject.format} {subject.precision}, batch {row.batch}, {threads}"


def _differences(fields: Mapping[str, Read], base: Measurement, new: Measurement) -> list[Difference]:
    pairs = ((name, read(base), read(new)) for name, read in fields.items())
    return [Difference(name, _in_words(one), _in_words(other)) for name, one, other in pairs if one != other]


def _in_words(value: Hashable) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
