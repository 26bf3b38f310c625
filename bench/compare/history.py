"""`python -m bench history`: the same artifact on the same device, over time."""

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bench.compare.compare import COLOUR, label_in_colour, ratio_in_words
from bench.compare.conditions import conditions_asked, unlike, what
from bench.compare.tables import MISSING, show_compactly
from bench.record import Measurement
from bench.session.cells import subject_name
from bench.session.journal import JOURNAL, open_journal
from bench.timing.intervals import Interval, median_interval
from bench.timing.ratio import ratio_of
from distill.errors import UsageError
from distill.terminal import answer, say, table
from export.artifact.manifest import MANIFEST_FILE, Manifest

BARS = "▁▂▃▄▅▆▇█"
NOT_MEASURED = "·"
COLUMNS = ("measured", "toolkit", "median ms", "to the first [95 %]", "to the previous", "label", "note")


@dataclass(frozen=True)
class Moment:
    """One measurement in a series.

    Attributes:
        median: None if the row failed.
        to_first, to_previous: ratio to the series' first row and to the row before that have samples, above 1 is
            slower; None where there is no such row, its conditions turned out unlike, or this row is wrong.
        note: what is different from the row before: artifact, runtime, or why there is no ratio.
    """

    row: Measurement
    median: Interval | None
    to_first: Interval | None
    to_previous: Interval | None
    note: str


@dataclass(frozen=True)
class Series:
    """Everything measured of one model, format and precision under one set of conditions, the oldest first."""

    moments: tuple[Moment, ...]

    @property
    def latest(self) -> Measurement:
        """The newest row."""
        return self.moments[-1].row


def history(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[ARTIFACT|NAME]", help="An artifact folder, or words that stand in name, format and precision."
        ),
    ] = None,
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show how the latency of an artifact went over time, on each device and under each set of conditions.

    A series goes on when the model was exported again or the toolkit is newer; the change is noted. Intervals are 95 %.
    """
    rows = open_journal(measurements)
    all_series = series_of(_about(subject, rows) if subject else rows)
    if not all_series:
        known = ", ".join(dict.fromkeys(f"{row.subject.name} {row.subject.format}" for row in rows))
        raise UsageError(f"{measurements} holds nothing of {subject!r}. It holds: {known}")
    if as_json:
        answer(json.dumps([_as_record(series) for series in all_series], indent=2))
        return
    for series in all_series:
        _show(series)
    say("[dim]ratios above 1 are slower; green and red where the 95 % interval leaves 1 out[/]")
    if all(len(series.moments) == 1 for series in all_series):
        say("every one of these was measured once; measure again into the same journal to see a course")


def series_of(rows: Iterable[Measurement]) -> list[Series]:
    """The rows by model, format, precision and conditions, each series in order of time."""
    groups: dict[Hashable, list[Measurement]] = {}
    for row in rows:
        subject = row.subject
        key = (subject.name, subject.format, subject.precision, conditions_asked(row))
        groups.setdefault(key, []).append(row)
    return [_series(sorted(group, key=lambda row: datetime.fromisoformat(row.utc_time))) for group in groups.values()]


def sparkline(values: Sequence[float | None]) -> str:
    """One character per value, the higher the slower, from the least to the greatest; a dot for None."""
    known = [value for value in values if value is not None]
    if not known:
        return NOT_MEASURED * len(values)
    low, reach = min(known), max(known) - min(known)
    top = len(BARS) - 1
    return "".join(
        NOT_MEASURED if value is None else BARS[round(top * (value - low) / reach) if reach else 0] for value in values
    )


def _series(rows: Sequence[Measurement]) -> Series:
    moments: list[Moment] = []
    first: Measurement | None = None
    previous: Measurement | None = None
    for row in rows:
        if not row.samples_ms:
            moments.append(Moment(row, None, None, None, row.reason))
            continue
        moments.append(
            Moment(
                row,
                median_interval(row.samples_by_launch),
                _ratio(first, row),
                _ratio(previous, row),
                _note(previous, row),
            )
        )
        if not row.wrong or row.device.emulated:
            first, previous = first or row, row
    return Series(tuple(moments))


def _ratio(base: Measurement | None, row: Measurement) -> Interval | None:
    if base is None or row.wrong or unlike(base, row):
        return None
    return ratio_of(base, row)


def _note(previous: Measurement | None, row: Measurement) -> str:
    if previous is None:
        return ""
    notes = [
        f"unlike: {difference.field} {difference.base}, now {difference.new}" for difference in unlike(previous, row)
    ]
    if previous.runtime_version != row.runtime_version:
        notes.append(f"{row.runtime} {row.runtime_version}, was {previous.runtime_version}")
    if previous.subject.checkpoint_sha256 != row.subject.checkpoint_sha256:
        notes.append("another checkpoint")
    elif previous.subject.manifest_sha256 != row.subject.manifest_sha256:
        notes.append("exported again")
    return "; ".join(notes)


def _about(subject: str, rows: Sequence[Measurement]) -> list[Measurement]:
    path = Path(subject)
    if path.is_dir():
        manifest = Manifest.read(path / MANIFEST_FILE)
        name = (subject_name(manifest), manifest.format, manifest.precision)
        return [row for row in rows if (row.subject.name, row.subject.format, row.subject.precision) == name]
    words = subject.lower().split()
    names = ((row, f"{row.subject.name} {row.subject.format} {row.subject.precision}".lower()) for row in rows)
    return [row for row, name in names if all(word in name for word in words)]


def _show(series: Series) -> None:
    device = series.latest.device
    emulated = ", emulated: its times say nothing of any product" if device.emulated else ""
    line = sparkline([moment.median.value if moment.median else None for moment in series.moments])
    where = ", ".join(part for part in (device.name, device.instrument, device.serial) if part)
    title = f"{what(series.latest)} on {where}{emulated}   {line}"
    show_compactly(table(escape(title), COLUMNS, [_cells(moment) for moment in series.moments]))


def _cells(moment: Moment) -> list[str]:
    row, median = moment.row, moment.median
    return [
        escape(row.utc_time[:16].replace("T", " ")),
        escape(row.toolkit_version),
        f"{median.value:.3f} ± {100 * median.half_width:.1f} %" if median else MISSING,
        _ratio_cell(moment.to_first, "" if moment.to_first is None else ratio_in_words(moment.to_first)),
        _ratio_cell(moment.to_previous, "" if moment.to_previous is None else f"{moment.to_previous.value:.3f}"),
        label_in_colour(row),
        escape(moment.note),
    ]


def _ratio_cell(ratio: Interval | None, words: str) -> str:
    return MISSING if ratio is None else f"[{COLOUR[ratio.verdict]}]{escape(words)}[/]"


def _as_record(series: Series) -> dict[str, Any]:
    latest = series.latest
    return {
        "name": latest.subject.name,
        "format": latest.subject.format,
        "precision": latest.subject.precision,
        "device": latest.device.model_dump(mode="json"),
        "fixed_performance": latest.conditions.fixed_performance,
        "batch": latest.batch,
        "threads": latest.threads,
        "moments": [_moment_as_record(moment) for moment in series.moments],
    }


def _moment_as_record(moment: Moment) -> dict[str, Any]:
    row = moment.row
    return {
        "utc_time": row.utc_time,
        "run_id": row.run_id,
        "toolkit_version": row.toolkit_version,
        "runtime_version": row.runtime_version,
        "manifest_sha256": row.subject.manifest_sha256,
        "median_ms": moment.median and _interval_as_record(moment.median),
        "to_first": moment.to_first and _interval_as_record(moment.to_first),
        "to_previous": moment.to_previous and _interval_as_record(moment.to_previous),
        "validity": row.validity,
        "note": moment.note,
    }


def _interval_as_record(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
