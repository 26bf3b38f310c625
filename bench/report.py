"""measurements.jsonl -> one self-contained HTML page that needs no network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.record import Measurement
from bench.rows import Row, compare, conditions_of
from bench.table import MISSING
from distill.contract import write_whole
from distill.errors import UsageError

PAGE = Path(__file__).parent / "page"
GOAL = 0.98
"""Share of the teacher's accuracy a student should keep; the headline is the fastest that does."""


@dataclass(frozen=True)
class Field:
    """One column of the page's table.

    Attributes:
        key: of the row's figures.
        title: head of the column; `unit` stands smaller beside it.
        form: format of a number; empty for text.
        scale: shown value = figure x scale.
    """

    key: str
    title: str
    unit: str = ""
    form: str = ""
    scale: float = 1.0


FIELDS = (
    Field("name", "Model"),
    Field("format", "Format"),
    Field("precision", "Precision"),
    Field("batch", "Batch", form="d"),
    Field("threads", "Threads", form="d"),
    Field("median_ms", "Median", "ms", ".3f"),
    Field("p10_ms", "p10", "ms", ".3f"),
    Field("p90_ms", "p90", "ms", ".3f"),
    Field("speed_up", "Speed-up", "×", ".2f"),
    Field("accuracy", "Accuracy", "%", ".2f", 100),
    Field("relative_accuracy", "Relative accuracy", "%", ".1f", 100),
    Field("top1_agreement", "Agreement", "%", ".1f", 100),
    Field("size_bytes", "Size", "MB", ".2f", 1e-6),
    Field("num_parameters", "Parameters", "M", ".2f", 1e-6),
    Field("load_ms", "Load", "ms", ".1f"),
    Field("first_inference_ms", "First call", "ms", ".2f"),
    Field("peak_memory_bytes", "Peak memory", "MB", ".0f", 1e-6),
    Field("samples", "Samples", form="d"),
    Field("validity", "Validity"),
)


@dataclass(frozen=True)
class Cell:
    """What stands in one place of the table, and what it sorts by; "" sorts last."""

    text: str
    sort: str


def write_report(measurements: Sequence[Measurement], path: Path) -> None:
    """Write the page; of several measurements of one cell the newest is shown.

    Raises:
        UsageError: no measurements, or the packages of the page are not installed.
        WorkFailed: the file cannot be written.
    """
    write_whole(path, render(measurements).encode())


def render(measurements: Sequence[Measurement]) -> str:
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
        plotly_js=Markup(get_plotlyjs()),
        page_js=Markup((PAGE / "report.js").read_text()),
        page_css=Markup((PAGE / "report.css").read_text()),
        # Long names may break after an underscore, and nowhere else.
        breakable=lambda text: Markup("_<wbr>").join(text.split("_")),
    )


def page_content(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Everything the template shows, but for scripts and styles."""
    rows = sorted(compare(measurements), key=_order)
    shown = [row.measurement for row in rows]
    records = [figures(row) for row in rows]
    return {
        "title": headline(rows),
        "best": best_student(rows),
        "goal": GOAL,
        "rows": rows,
        "fields": FIELDS,
        "table": [(record, [cell(field, record) for field in FIELDS]) for record in records],
        "data": {"goal": GOAL, "rows": records},
        "conditions": list(dict.fromkeys(record["conditions"] for record in records)),
        "devices": list(dict.fromkeys(one.device for one in shown)),
        "runtimes": sorted({f"{one.runtime} {one.runtime_version}" for one in shown if one.runtime}),
        "toolkits": sorted({one.toolkit_version for one in shown}),
        "period": period(shown),
        "validities": Counter(one.validity for one in shown),
        "doubtful": [record for record in records if record["validity"] != "valid"],
        "other_bases": sorted({row.base_name or "" for row in rows if row.base_kind == "slowest-eager"}),
        "superseded": len(measurements) - len(shown),
        "machine_states": machine_states(shown),
        "mixed_runs": any(not row.base_in_same_run for row in rows),
        "has_teacher": any(row.base_kind == "teacher" for row in rows),
    }


def figures(row: Row) -> dict[str, Any]:
    """A row as plain values, for the table and for the page's script."""
    one, summary = row.measurement, row.summary
    subject = one.subject.model_dump(exclude={"name"})
    return {
        **subject,
        "name": row.name,
        "role": row.role,
        "conditions": conditions_text(one),
        "batch": one.batch,
        "threads": one.threads,
        "samples": len(one.samples_ms),
        **(asdict(summary) if summary else {"median_ms": None, "p10_ms": None, "p90_ms": None}),
        "load_ms": one.load_ms,
        "first_inference_ms": one.first_inference_ms,
        "peak_memory_bytes": one.peak_memory_bytes,
        "runtime": f"{one.runtime} {one.runtime_version}" if one.runtime else MISSING,
        "speed_up": row.speed_up,
        "relative_accuracy": row.relative_accuracy,
        "base_kind": row.base_kind,
        "base_name": row.base_name,
        "base_in_same_run": row.base_in_same_run,
        "validity": one.validity,
        "reason": one.reason,
        "utc_time": one.utc_time,
    }


def cell(field: Field, record: dict[str, Any]) -> Cell:
    """One place of the table."""
    value = record[field.key]
    if value is None:
        return Cell(MISSING, "")
    if not field.form:
        return Cell(str(value), str(value))
    shown = value * field.scale if field.scale != 1 else value
    return Cell(format(shown, field.form), repr(value))


def headline(rows: Sequence[Row]) -> str:
    """The page's title: what was found, or else what was measured."""
    best = best_student(rows)
    if best is None:
        device = rows[0].measurement.device.name
        return f"{len(rows)} measurement{'s' if len(rows) != 1 else ''} on {device}"
    subject = best.measurement.subject
    return (
        f"{best.name} as {subject.format} {subject.precision} is {best.speed_up:.1f} × faster than the teacher "
        f"and keeps {100 * (best.relative_accuracy or 0):.1f} % of its accuracy"
    )


def best_student(rows: Sequence[Row]) -> Row | None:
    """The fastest student that keeps `GOAL` of its teacher's accuracy, under the first conditions of the page."""
    first = conditions_of(rows[0].measurement)
    candidates = [
        (row.speed_up, row)
        for row in rows
        if conditions_of(row.measurement) == first
        and row.role == "student"
        and row.base_kind == "teacher"
        and row.speed_up is not None
        and (row.relative_accuracy or 0) >= GOAL
    ]
    return max(candidates, key=lambda pair: pair[0])[1] if candidates else None


def conditions_text(one: Measurement) -> str:
    """What all rows of one figure share, in words."""
    images = "1 image per call" if one.batch == 1 else f"{one.batch} images per call"
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return f"{one.device.name}, {images}, {threads}"


def period(shown: Sequence[Measurement]) -> str:
    """When the rows were measured, in UTC."""
    times = sorted(datetime.fromisoformat(one.utc_time) for one in shown)
    first, last = (f"{time.day} {time:%B %Y, %H:%M}" for time in (times[0], times[-1]))
    if times[0].date() == times[-1].date():
        last = f"{times[-1]:%H:%M}"
    return f"{first} to {last} UTC"


def machine_states(shown: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The machine's state over all rows, as (what, lowest to highest)."""
    conditions = [one.conditions for one in shown]
    figures = (
        ("Load average before", "", [one.load_average_before for one in conditions]),
        ("Clock before", " MHz", [one.cpu_mhz_before for one in conditions]),
        ("Clock after", " MHz", [one.cpu_mhz_after for one in conditions]),
        ("Temperature", " °C", [one.temperature_celsius for one in conditions]),
    )
    return [(what, _span([value for value in values if value is not None], unit)) for what, unit, values in figures]


def _span(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not told by this machine"
    low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in (min(values), max(values)))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _order(row: Row) -> tuple[Any, ...]:
    one = row.measurement
    median = row.summary.median_ms if row.summary else float("inf")
    return (one.device.kind, one.device.name, one.batch, one.threads, median)
