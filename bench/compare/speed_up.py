"""Measurements side by side: which is shown, what it is compared with, how much faster it is.

A speed-up always has its base under like circumstances (`bench.compare.conditions`). Rows whose label makes them wrong
(failed, throttled, of an emulated device) are shown and never ranked: they have no base, no speed-up, and are the base
of nothing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare.conditions import circumstances_of, newest
from bench.record import Measurement
from bench.session.variants import base_accelerator
from bench.timing.intervals import Interval
from bench.timing.ratio import ratio_of
from bench.timing.statistics import Summary, summarize
from export.artifact.answers import share_kept, share_kept_interval

BaseKind = Literal["teacher", "slowest-eager"]
Role = Literal["teacher", "student"]


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
        relative_accuracy: this accuracy / base accuracy, on the images that both have answered where these are known.
            None where either is unknown.
        relative_accuracy_interval: 95 %, paired by image. None unless both are known to have answered the same images.
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
    relative_accuracy_interval: tuple[float, float] | None
    relative_size: float | None
    base_in_same_run: bool

    @property
    def surely_kept(self) -> float:
        """The share of the base's accuracy that this keeps at least; as measured where no interval is known."""
        return self.relative_accuracy_interval[0] if self.relative_accuracy_interval else self.relative_accuracy or 0.0


class Bases:
    """The rows that others are held against, found once for all of them."""

    def __init__(self, among: Iterable[Measurement]) -> None:
        rows = list(among)
        self.teachers = teachers_of(rows)
        self._eager: dict[tuple[Hashable, str], Measurement] = {}
        self._slowest: dict[Hashable, Measurement] = {}
        for row in rows:
            if row.subject.format != "eager" or not row.samples_ms or row.wrong:
                continue
            where = circumstances_of(row), row.accelerator_requested
            self._eager.setdefault((where, row.subject.checkpoint_sha256), row)
            if where not in self._slowest or _median(row) > _median(self._slowest[where]):
                self._slowest[where] = row

    def teacher_of(self, row: Measurement) -> str | None:
        """The checkpoint that a row is held against; its own if it is a teacher."""
        if row.subject.checkpoint_sha256 in self.teachers:
            return row.subject.checkpoint_sha256
        if row.subject.teacher_sha256 is None and len(self.teachers) == 1:
            return next(iter(self.teachers))
        return row.subject.teacher_sha256

    def find(self, row: Measurement) -> tuple[Measurement, BaseKind] | None:
        """The row that ratios are taken against: its teacher in eager, or else the slowest eager row.

        A student without a teacher of its own (trained from scratch) is held against the one teacher there is, if
        there is exactly one; a teacher's other formats are held against its eager row. On a GPU that is its fp32 row
        without compilation or graphs. Wrong rows have no base and are none.
        """
        if row.wrong:
            return None
        where = circumstances_of(row), base_accelerator(row.accelerator_requested)
        teacher = self.teacher_of(row)
        if teacher is not None and (base := self._eager.get((where, teacher))) is not None:
            return base, "teacher"
        return (self._slowest[where], "slowest-eager") if where in self._slowest else None


def compare(measurements: Iterable[Measurement]) -> list[Row]:
    """The newest measurement of every cell as a row, in the order first seen."""
    shown = newest(measurements)
    names, bases = _names(shown), Bases(shown)
    return [_row(measurement, bases, names) for measurement in shown]


def teachers_of(among: Iterable[Measurement]) -> set[str]:
    """Checkpoint hashes that are measured here and that a measured student learnt from."""
    rows = list(among)
    return {row.subject.checkpoint_sha256 for row in rows} & {
        row.subject.teacher_sha256 for row in rows if row.subject.teacher_sha256 is not None
    }


def _row(measurement: Measurement, bases: Bases, names: dict[str, str]) -> Row:
    base, base_kind = bases.find(measurement) or (None, None)
    subject = measurement.subject
    return Row(
        measurement=measurement,
        name=names[subject.checkpoint_sha256],
        role="teacher" if subject.checkpoint_sha256 in bases.teachers else "student",
        summary=summarize(measurement.samples_ms) if measurement.samples_ms else None,
        base_kind=base_kind,
        base_name=names[base.subject.checkpoint_sha256] if base else None,
        speed_up=ratio_of(measurement, base) if base else None,
        relative_accuracy=_relative_accuracy(measurement, base),
        relative_accuracy_interval=share_kept_interval(subject.answers, base.subject.answers) if base else None,
        relative_size=subject.size_bytes / base.subject.size_bytes if base else None,
        base_in_same_run=base is None or base.run_id == measurement.run_id,
    )


def _relative_accuracy(measurement: Measurement, base: Measurement | None) -> float | None:
    if base is None or measurement.subject.accuracy is None or not base.subject.accuracy:
        return None
    kept = share_kept(measurement.subject.answers, base.subject.answers)
    return measurement.subject.accuracy / base.subject.accuracy if kept is None else kept


def _names(shown: Sequence[Measurement]) -> dict[str, str]:
    """A name for each checkpoint: the subject's, with the start of the hash where two checkpoints share it."""
    names = {measurement.subject.checkpoint_sha256: measurement.subject.name for measurement in shown}
    counts = Counter(names.values())
    return {sha: name if counts[name] == 1 else f"{name} ({sha[:6]})" for sha, name in names.items()}


def _median(measurement: Measurement) -> float:
    return summarize(measurement.samples_ms).median_ms
