"""measurements.jsonl -> one self-contained HTML page that needs no network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.compare.conditions import circumstances_of
from bench.compare.speed_up import Row, compare
from bench.record import Latency, Measurement
from bench.report.budgets import choices
from bench.report.row import cell, columns, detail, figures
from bench.report.study_figures import Picture
from distill.contract import write_whole
from distill.errors import UsageError
from distill.page_style import breakable, style_sheet
from distill.vision.tasks import share_among

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "values.js",
    "look.js",
    "tooltip.js",
    "known.js",
    "budget.js",
    "trade_off.js",
    "latency.js",
    "table.js",
    "detail.js",
    "start.js",
)
"""Of the page, in the order in which they build on one another."""

GOAL = 0.98
"""Share of the teacher's accuracy a student should keep; the headline is the fastest that does."""


@dataclass(frozen=True)
class Known:
    """An accuracy on the scale of the accuracy section: shares, and places in percent of the scale's width."""

    what: str
    share: float
    low: float
    high: float
    images: int
    place: float
    start: float
    width: float


def as_counted(measurements: Sequence[Measurement], asked: Latency | None) -> list[Measurement]:
    """Rows with the samples that count; without a word the whole path counts for rows of phones that have it.

    A row that lacks what was asked for is left out.
    """
    if asked is not None:
        return [timed for row in measurements if (timed := row.timed_by(asked)) is not None]
    return [(row.timed_by("pipeline") if row.device.kind == "android" else None) or row for row in measurements]


def write_report(measurements: Sequence[Measurement], path: Path, pictures: Sequence[Picture] = ()) -> None:
    """Write the page; of several measurements of one cell the newest is shown.

    Raises:
        UsageError: no measurements, or the packages of the page are not installed.
        WorkFailed: the file cannot be written.
    """
    write_whole(path, render(measurements, pictures).encode())


def render(measurements: Sequence[Measurement], pictures: Sequence[Picture] = ()) -> str:
    """The page as text; errors as `write_report`, but for writing."""
    if not measurements:
        raise UsageError("there is no measurement to report. Measure first: python -m bench ARTIFACT --device cpu")
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the report page needs {error.name}, which is not installed: pip install 'pocket-distill[report]'"
        ) from error
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        page_content(measurements),
        pictures=pictures,
        plotly_js=Markup(get_plotlyjs()),
        page_js=Markup("\n".join((PAGE / name).read_text("utf-8") for name in SCRIPTS)),
        page_css=style_sheet(PAGE / "report.css"),
        breakable=breakable,
    )


def page_content(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Everything the template shows, but for pictures, scripts and styles."""
    rows = shown_rows(measurements)
    shown = [row.measurement for row in rows]
    records = [{"index": index, **figures(row)} for index, row in enumerate(rows)]
    chosen_among, answers = choices(shown, [record["conditions"] for record in records])
    details = [detail(measurement) for measurement in shown]
    # Times of an emulated device say nothing of any product: those rows stand apart and are in no figure.
    ranked = [record for record in records if not record["emulated"]]
    told = share_among(measurement.subject.task for measurement in shown).words
    return {
        "title": headline(rows),
        "best": best_student(rows),
        "goal": GOAL,
        "rows": rows,
        "ranked": ranked,
        "tables": [
            table("measurements", ranked),
            table("emulated", [record for record in records if record["emulated"]]),
        ],
        "data": {
            "measure": told,
            "rows": [
                {**record, **choice, "detail": more}
                for record, choice, more in zip(records, chosen_among, details, strict=True)
            ],
            "answers": [each.model_dump() for each in answers],
        },
        "conditions": list(dict.fromkeys(record["conditions"] for record in ranked)),
        "accuracies": accuracies(ranked),
        "devices": list(dict.fromkeys(measurement.device for measurement in shown)),
        "runtimes": sorted(
            {f"{measurement.runtime} {measurement.runtime_version}" for measurement in shown if measurement.runtime}
        ),
        "toolkits": sorted({measurement.toolkit_version for measurement in shown}),
        "period": period(shown),
        "validities": Counter(measurement.validity for measurement in shown),
        "doubtful": [record for record in records if record["validity"] != "valid"],
        "other_bases": sorted({row.base_name or "" for row in rows if row.base_kind == "slowest-eager"}),
        "superseded": len(measurements) - len(shown),
        "machine_states": machine_states(shown),
        "mixed_runs": any(not row.base_in_same_run for row in rows),
        "has_teacher": any(row.base_kind == "teacher" for row in rows),
        "told": told,
    }


def shown_rows(measurements: Sequence[Measurement]) -> list[Row]:
    """One row of every cell in the order of the page: by device, batch and threads, the fastest first."""
    return sorted(compare(measurements), key=_order)


def table(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """A table of the page: columns with who sees them, and the cells of every row."""
    chosen = columns(records)
    return {
        "name": name,
        "columns": chosen,
        "rows": [(record, [(field, rank, cell(field, record)) for field, rank in chosen]) for record in records],
    }


def accuracies(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Every artifact's accuracy with its interval on one scale, best first; None if no row has one."""
    by_artifact = {
        _accuracy_key(record): record
        for record in records
        if record["accuracy_interval"] or record["measured_accuracy_interval"]
    }
    if not by_artifact:
        return None
    ends = [
        end
        for record in by_artifact.values()
        for key in ("accuracy_interval", "measured_accuracy_interval")
        for end in record[key] or ()
    ]
    low, high = min(ends), max(ends)
    ordered = sorted(
        by_artifact.values(),
        key=lambda record: (-(record["accuracy"] or record["measured_accuracy"] or 0), record["name"]),
    )
    return {
        "low": low,
        "high": high,
        "measured": any(record["measured_accuracy"] is not None for record in by_artifact.values()),
        "rows": [(record, _known(record, low, high)) for record in ordered],
    }


def headline(rows: Sequence[Row]) -> str:
    """The page's title: what was found, or else what was measured."""
    best = best_student(rows)
    if best is None or best.speed_up is None:
        counts = Counter(row.measurement.device.name for row in rows)
        (device, count), *others = counts.items()
        parts = [f"{count} measurement{'s' if count != 1 else ''} on {device}"]
        return ", ".join(parts + [f"{count} on {device}" for device, count in others])
    subject = best.measurement.subject
    is_valid = best.measurement.validity == "valid"
    times = f"{best.speed_up.value:.1f}" if is_valid else f"at least {best.speed_up.low:.1f}"
    return (
        f"{best.name} as {subject.format} {subject.precision} is {times} × faster than the teacher "
        f"and keeps {100 * (best.relative_accuracy or 0):.1f} % of its {subject.measure.title}"
    )


def best_student(rows: Sequence[Row]) -> Row | None:
    """The fastest student shown to keep `GOAL` of its teacher's accuracy, under the first conditions of the page.

    The lower end of the speed-up's interval counts, so that a row is not the fastest because it is known badly. A label
    that widens the interval costs a row nothing else; one that makes it wrong leaves it without a speed-up.
    """
    first = circumstances_of(rows[0].measurement)
    candidates = [
        (row.speed_up.low, row)
        for row in rows
        if circumstances_of(row.measurement) == first
        and row.role == "student"
        and row.base_kind == "teacher"
        and row.speed_up is not None
        and row.surely_kept >= GOAL
    ]
    return max(candidates, key=lambda pair: pair[0])[1] if candidates else None


def period(shown: Sequence[Measurement]) -> str:
    """When the rows were measured, in UTC."""
    times = sorted(datetime.fromisoformat(measurement.utc_time) for measurement in shown)
    first, last = (f"{time.day} {time:%B %Y, %H:%M}" for time in (times[0], times[-1]))
    if first == last:
        return f"{first} UTC"
    if times[0].date() == times[-1].date():
        last = f"{times[-1]:%H:%M}"
    return f"{first} to {last} UTC"


def machine_states(shown: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The machine's state over all rows, as (what, lowest to highest)."""
    conditions = [measurement.conditions for measurement in shown]

    during = [launch.other_work_share for measurement in shown for launch in measurement.launches]
    states = (
        ("Load average before", "", [condition.load_average_before for condition in conditions]),
        ("Other work before", " %", [_percent(condition.busy_share_before) for condition in conditions]),
        ("Other work during", " %", [_percent(share) for share in during]),
        ("Clock before", " MHz", [condition.cpu_mhz_before for condition in conditions]),
        ("Clock after", " MHz", [condition.cpu_mhz_after for condition in conditions]),
        ("Temperature", " °C", [condition.temperature_celsius for condition in conditions]),
        ("Battery", " °C", [condition.battery_celsius for condition in conditions]),
    )
    return [(what, _span([value for value in values if value is not None], unit)) for what, unit, values in states]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _span(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not told by this machine"
    low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in (min(values), max(values)))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _accuracy_key(record: dict[str, Any]) -> tuple[Any, ...]:
    """What was measured here differs from device to device; what the export says does not."""
    place = (record["device_name"], record["instrument"], record["accelerator"])
    here = place if record["measured_accuracy"] is not None else ()
    return (record["manifest_sha256"], *here)


def _known(record: dict[str, Any], low: float, high: float) -> list[Known]:
    scale = 100 / ((high - low) or 1)
    told = (
        ("at export", "accuracy", "accuracy_images"),
        ("measured here", "measured_accuracy", "measured_images"),
    )
    return [
        Known(
            what,
            record[key],
            *record[f"{key}_interval"],
            images=record[images],
            place=scale * (record[key] - low),
            start=scale * (record[f"{key}_interval"][0] - low),
            width=scale * (record[f"{key}_interval"][1] - record[f"{key}_interval"][0]),
        )
        for what, key, images in told
        if record[f"{key}_interval"]
    ]


def _order(row: Row) -> tuple[Any, ...]:
    measurement, device = row.measurement, row.measurement.device
    median = row.summary.median_ms if row.summary else float("inf")
    return (device.emulated, device.kind, device.name, measurement.batch, measurement.threads, median)
