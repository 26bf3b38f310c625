"""Measurements side by side: which is shown, what it is compared with, how much faster it is.

A speed-up always has its base under like conditions: same device, clocks held or free, batch and threads. Rows of
emulated devices are shown and never ranked: they have no base, no speed-up, and are the base of nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.record import Device, Measurement
from bench.session.variants import base_accelerator
from bench.timing.intervals import Interval
from bench.timing.ratio import ratio_of
from bench.timing.statistics import Summary, summarize

BaseKind = Literal["teacher", "slowest-eager"]
Role = Literal["teacher", "student"]

ConditionsKey = tuple[Device, bool, int, int]
CellKey = tuple[str, str | None, ConditionsKey]


@dataclass(frozen=True)
class Row:
    """A measurement with its place among the others.

    Attributes:
        name: the subject's name, with a piece of the checkpoint's hash where names alone are ambiguous.
        role: `teacher` if another measured model learnt from this one.
        summary: None for a failed row.
        base_kind: what the ratios are taken against; None if nothing serves.
        base_name: name of that row.
        speed_up: base / this with its interval, as `bench.timing.ratio` has it, so it need not be the quotient of the
            two medians shown; above 1 is faster. None without a base or without samples.
        relative_accuracy: this accuracy / base accuracy. None where either is unknown.
        relative_size: this size / base size in bytes.
        base_in_same_run: False if the base was measured in another `python -m bench` call.
    """

    measurement: Measurement
    name: str
    role: Role
    summary: Summary | None
    base_kind: BaseKind | None
    base_name: str | None
    speed_up: Interval | None
    relative_accuracy: float | None
    relative_size: float | None
    base_in_same_run: bool


def compare(measurements: Iterable[Measurement]) -> list[Row]:
    """The newest measurement of every cell as a row, in the order first seen."""
    shown = newest_of_each_cell(measurements)
    names = _names(shown)
    return [_row(one, shown, names) for one in shown]


def newest_of_each_cell(measurements: Iterable[Measurement]) -> list[Measurement]:
    """One measurement per artifact, accelerator and conditions: the last one, even if it failed."""
    newest: dict[CellKey, Measurement] = {}
    for one in measurements:
        newest[(one.subject.manifest_sha256, one.accelerator_requested, conditions_of(one))] = one
    return list(newest.values())


def conditions_of(measurement: Measurement) -> ConditionsKey:
    """What two rows must share to be compared."""
    return (
        measurement.device,
        measurement.conditions.fixed_performance,
        measurement.batch,
        measurement.threads,
    )


def find_base(row: Measurement, among: Sequence[Measurement]) -> tuple[Measurement, BaseKind] | None:
    """The row that ratios are taken against: its teacher in eager, or else the slowest eager row.

    A student without a teacher of its own (trained from scratch) is held against the one teacher there is, if there
    is exactly one; a teacher's other formats are held against its eager row. On a GPU that is its fp32 row without
    compilation or graphs. Emulated rows have no base.
    """
    if row.device.emulated:
        return None
    eager = [
        one
        for one in among
        if one.subject.format == "eager"
        and one.samples_ms
        and conditions_of(one) == conditions_of(row)
        and one.accelerator_requested == base_accelerator(row.accelerator_requested)
    ]
    teacher = _teacher_of(row, among)
    for one in eager:
        if one.subject.checkpoint_sha256 == teacher:
            return one, "teacher"
    if not eager:
        return None
    return max(eager, key=_median), "slowest-eager"


def teachers_of(among: Iterable[Measurement]) -> set[str]:
    """Checkpoint hashes that are measured here and that a measured student learnt from."""
    among = list(among)
    wanted = {one.subject.teacher_sha256 for one in among}
    return {one.subject.checkpoint_sha256 for one in among} & {one for one in wanted if one is not None}


def _teacher_of(row: Measurement, among: Sequence[Measurement]) -> str | None:
    teachers = teachers_of(among)
    if row.subject.checkpoint_sha256 in teachers:
        return row.subject.checkpoint_sha256
    if row.subject.teacher_sha256 is None and len(teachers) == 1:
        return next(iter(teachers))
    return row.subject.teacher_sha256


def _row(one: Measurement, shown: Sequence[Measurement], names: dict[str, str]) -> Row:
    base = find_base(one, shown)
    other = base[0] if base else None
    is_teacher = one.subject.checkpoint_sha256 in teachers_of(shown)
    return Row(
        measurement=one,
        name=names[one.subject.checkpoint_sha256],
        role="teacher" if is_teacher else "student",
        summary=summarize(one.samples_ms) if one.samples_ms else None,
        base_kind=base[1] if base else None,
        base_name=names[other.subject.checkpoint_sha256] if other else None,
        speed_up=ratio_of(one, other) if other and one.samples_ms else None,
        relative_accuracy=_relative_accuracy(one, other),
        relative_size=one.subject.size_bytes / other.subject.size_bytes if other else None,
        base_in_same_run=other is None or other.run_id == one.run_id,
    )


def _relative_accuracy(one: Measurement, base: Measurement | None) -> float | None:
    if base is None or one.subject.accuracy is None or not base.subject.accuracy:
        return None
    return one.subject.accuracy / base.subject.accuracy


def _names(shown: Sequence[Measurement]) -> dict[str, str]:
    """A name for each checkpoint: the subject's, with the start of the hash where two checkpoints share it."""
    names = {one.subject.checkpoint_sha256: one.subject.name for one in shown}
    counts = Counter(names.values())
    return {sha: name if counts[name] == 1 else f"{name} ({sha[:6]})" for sha, name in names.items()}


def _median(measurement: Measurement) -> float:
    return summarize(measurement.samples_ms).median_ms
