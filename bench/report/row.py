"""One row of the report page: its figures as plain values, the columns that show them, what its detail panel adds."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bench.compare.speed_up import Row
from bench.compare.tables import MISSING
from bench.record import Launch, Measurement
from bench.record.answered import Answered
from bench.record.repeated import Repeated
from bench.record.whole_path import WholePath
from bench.report.drawn_samples import MAX_POINTS, drawn_points, histogram
from bench.timing.intervals import median_interval
from bench.timing.proportions import share_interval
from bench.timing.statistics import summarize
from distill.vision.tasks import TASKS, share_among

MOST_PICTURES = 30
"""Named in a panel; all of them are in the journal."""

Rank = Literal["key", "main", "more"]
"""Who sees a column: phones and all others, all others, or whoever asks for all columns."""


@dataclass(frozen=True)
class Field:
    """One column of the page's table.

    Attributes:
        key: of the row's figures.
        title: head of the column, with words of the rows' measure; `unit` stands smaller beside it.
        form: format of a number; empty for text.
        scale: shown value = figure x scale.
        told_apart: shown to all as soon as rows differ in it.
    """

    key: str
    title: str
    unit: str = ""
    form: str = ""
    scale: float = 1.0
    rank: Rank = "more"
    told_apart: bool = False


FIELDS = (
    Field("name", "Model", rank="key"),
    Field("format", "Format", rank="main"),
    Field("precision", "Precision", rank="main"),
    Field("device_name", "Device", told_apart=True),
    Field("instrument", "Instrument", told_apart=True),
    Field("accelerator", "Accelerator"),
    Field("batch", "Batch", form="d", told_apart=True),
    Field("threads", "Threads", form="d", told_apart=True),
    Field("median_ms", "Median", "ms", ".3f", rank="key"),
    Field("path_ms", "Whole path", "ms", ".3f", rank="main"),
    Field("validity", "Label", rank="key"),
    Field("speed_up", "Speed-up", "×", ".2f", rank="main"),
    Field("accuracy", "{heading}", "%", ".2f", 100, rank="key"),
    Field("relative_accuracy", "Relative", "%", ".1f", 100, rank="main"),
    Field("size_bytes", "Size", "MB", ".2f", 1e-6, rank="main"),
    Field("measured_accuracy", "{heading} here", "%", ".2f", 100),
    Field("measured_agreement", "Agreement here", "%", ".1f", 100),
    Field("top1_agreement", "Agreement at export", "%", ".1f", 100),
    Field("images_per_s", "Throughput", "images/s", ",.0f"),
    Field("between_launches", "Launches differ", "%", ".1f", 100),
    Field("p10_ms", "p10", "ms", ".3f"),
    Field("p90_ms", "p90", "ms", ".3f"),
    Field("p99_ms", "p99", "ms", ".3f"),
    Field("peak_memory_bytes", "Peak memory", "MB", ".0f", 1e-6),
    Field("model_memory_bytes", "Model memory", "MB", ".1f", 1e-6),
    Field("num_parameters", "Parameters", "M", ".2f", 1e-6),
    Field("macs", "MACs", "M", ".1f", 1e-6),
    Field("load_ms", "Load", "ms", ".1f"),
    Field("first_inference_ms", "First call", "ms", ".2f"),
    Field("samples", "Samples", form=",d"),
    Field("launch_count", "Launches", form="d"),
)


@dataclass(frozen=True)
class Cell:
    """What stands in one place of the table, and what it sorts by; "" sorts last."""

    text: str
    sort: str


def columns(records: list[dict[str, Any]]) -> list[tuple[Field, Rank]]:
    """The columns for these rows, each with who sees it; none that would be empty."""
    told = share_among(record["task"] for record in records).words
    chosen: list[tuple[Field, Rank]] = []
    for field in FIELDS:
        values = {record[field.key] for record in records}
        if values == {None}:
            continue
        field = replace(field, title=field.title.format_map(told))
        chosen.append((field, "main" if field.told_apart and len(values) > 1 else field.rank))
    return chosen


def cell(field: Field, record: dict[str, Any]) -> Cell:
    """One place of the table."""
    value = record[field.key]
    if value is None:
        return Cell(MISSING, "")
    if not field.form:
        return Cell(str(value), str(value))
    shown = value * field.scale if field.scale != 1 else value
    return Cell(format(shown, field.form), repr(value))


def figures(row: Row) -> dict[str, Any]:
    """A row as plain values, for the table and for the page's script."""
    measurement = row.measurement
    return {
        **measurement.subject.model_dump(exclude={"name", "answers"}),
        "name": f"{row.name} (emulated)" if measurement.device.emulated else row.name,
        "kind": kind_text(measurement),
        "emulated": measurement.device.emulated,
        "role": row.role,
        "conditions": conditions_text(measurement),
        "device_name": measurement.device.name,
        "instrument": measurement.device.instrument,
        "accelerator": measurement.accelerator_requested,
        "batch": measurement.batch,
        "threads": measurement.threads,
        "samples": len(measurement.samples_ms),
        "launch_count": len(measurement.launches),
        **_latency(row),
        **_accuracy_intervals(measurement),
        "measured_accuracy": measurement.measured_accuracy,
        "measured_agreement": measurement.measured_agreement,
        "measured_images": measurement.measured_images,
        "measured_note": measurement.measured_note,
        "path_ms": dict(measurement.path.medians())["total_ms"] if measurement.path else None,
        "load_ms": measurement.load_ms,
        "first_inference_ms": measurement.first_inference_ms,
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "model_memory_bytes": _model_memory(measurement),
        "runtime": f"{measurement.runtime} {measurement.runtime_version}" if measurement.runtime else MISSING,
        "speed_up": row.speed_up.value if row.speed_up else None,
        "speed_up_interval": (row.speed_up.low, row.speed_up.high) if row.speed_up else None,
        "relative_accuracy": row.relative_accuracy,
        "relative_accuracy_interval": row.relative_accuracy_interval,
        "relative_size": row.relative_size,
        "base_kind": row.base_kind,
        "base_name": row.base_name,
        "base_in_same_run": row.base_in_same_run,
        "validity": measurement.validity,
        "reason": measurement.reason,
        "marks": marks(measurement),
        "utc_time": measurement.utc_time,
    }


def detail(measurement: Measurement) -> dict[str, Any]:
    """What the panel of a row shows beyond its figures: every launch with points to draw, all calls in bars, state."""
    most = MAX_POINTS // max(1, len(measurement.launches))
    return {
        "launches": [
            _launch(launch, samples, most)
            for launch, samples in zip(measurement.launches, measurement.samples_by_launch, strict=True)
        ],
        "histogram": asdict(histogram(measurement.samples_by_launch)) if measurement.samples_ms else None,
        "conditions": measurement.conditions.model_dump(),
        "accelerator_requested": measurement.accelerator_requested,
        "accelerator_active": measurement.accelerator_active,
        "threads_active": measurement.threads_active,
        "path": _path(measurement.path) if measurement.path else None,
        "answered": _answered(measurement.answered) if measurement.answered else None,
        "repeated": _repeated(measurement.repeated) if measurement.repeated else None,
        "input": measurement.input,
        "run_id": measurement.run_id,
        "seed": measurement.seed,
        "toolkit_version": measurement.toolkit_version,
    }


def _path(path: WholePath) -> dict[str, Any]:
    stages = [(name.removesuffix("_ms").replace("_", "-"), ms) for name, ms in path.medians()]
    return {"stages": stages[:-1], "pictures": path.pictures}


def _answered(answered: Answered) -> dict[str, Any]:
    """Of answers to held-out pictures what the panel tells beyond accuracy and agreement."""
    eager = answered.eager
    return {
        "recalls": [
            [name, correct / images]
            for name, correct, images in zip(
                answered.class_names, answered.class_correct, answered.class_images, strict=True
            )
            if images
        ],
        "host_agreement": answered.host_agreement,
        "unreadable": list(answered.unreadable[:MOST_PICTURES]),
        "num_unreadable": len(answered.unreadable),
        "confidence_shift": answered.confidence_shift,
        "eager_accuracy": eager and eager.accuracy,
        "only_here": eager and eager.only_here,
        "only_eager": eager and eager.only_eager,
        "p_value": eager and eager.p_value,
        "changed": [each.model_dump() for each in eager.changed[:MOST_PICTURES]] if eager else [],
        "num_changed": len(eager.changed) if eager else 0,
    }


def _repeated(repeated: Repeated) -> str:
    return repeated.differs or f"the same in all {repeated.calls} calls of {repeated.where}"


def marks(measurement: Measurement) -> list[dict[str, str]]:
    """What a reader must know of a row beside its label, as a word and its reason."""
    remarks: list[dict[str, str]] = []
    if measurement.fell_back:
        remarks.append({"word": f"no {measurement.accelerator_requested}", "reason": measurement.fell_back})
    if measurement.conditions.hot_start:
        remarks.append({"word": "hot start", "reason": "the run began though the phone had not cooled down"})
    return remarks


def kind_text(measurement: Measurement) -> str:
    """Format and precision; on a GPU also how it was run."""
    subject, mode = measurement.subject, measurement.accelerator_requested
    suffix = f" ({mode})" if measurement.device.kind == "cuda" and mode else ""
    return f"{subject.format} {subject.precision}{suffix}"


def conditions_text(measurement: Measurement) -> str:
    """What all rows of one figure share, in words."""
    images = "1 image per call" if measurement.batch == 1 else f"{measurement.batch} images per call"
    threads = "1 thread" if measurement.threads == 1 else f"{measurement.threads} threads"
    device = f"{measurement.device.name}, emulated" if measurement.device.emulated else measurement.device.name
    instrument = f", {measurement.device.instrument} instrument" if measurement.device.instrument else ""
    clocks = ", clocks held" if measurement.conditions.fixed_performance else ""
    path = ", from picture to answer" if measurement.is_of_path else ""
    task = measurement.subject.task if TASKS[measurement.subject.task].is_dense else ""
    return ", ".join(part for part in (f"{device}{instrument}{clocks}", task, images, f"{threads}{path}") if part)


def _latency(row: Row) -> dict[str, Any]:
    keys = ("median_ms", "p10_ms", "p90_ms", "p99_ms")
    more = ("median_low_ms", "median_high_ms", "knows_launches", "between_launches", "images_per_s")
    if row.summary is None:
        return dict.fromkeys((*keys, *more))
    launches = row.measurement.samples_by_launch
    known = median_interval(launches)
    medians = [summarize(samples).median_ms for samples in launches]
    return {
        **{key: getattr(row.summary, key) for key in keys},
        "median_low_ms": known.low,
        "median_high_ms": known.high,
        "knows_launches": known.knows_launches,
        "between_launches": (max(medians) - min(medians)) / row.summary.median_ms if len(medians) > 1 else None,
        "images_per_s": row.summary.images_per_s(row.measurement.batch),
    }


def _accuracy_intervals(measurement: Measurement) -> dict[str, Any]:
    subject = measurement.subject
    return {
        # A share of pictures that are right is known within Wilson's interval; a mean over pixels is no such share.
        "accuracy_interval": _interval(
            subject.accuracy if subject.measure.of_pictures else None, subject.accuracy_images
        ),
        "measured_accuracy_interval": _interval(measurement.measured_accuracy, measurement.measured_images),
        "measured_agreement_interval": _interval(measurement.measured_agreement, measurement.measured_images),
    }


def _interval(share: float | None, count: int) -> tuple[float, float] | None:
    return share_interval(share, count) if share is not None and count else None


def _model_memory(measurement: Measurement) -> int | None:
    """What opening the model added to the memory of a process that had the runtime already."""
    if measurement.loaded_memory_bytes is None or measurement.runtime_memory_bytes is None:
        return None
    return max(0, measurement.loaded_memory_bytes - measurement.runtime_memory_bytes)


def _launch(launch: Launch, samples_ms: tuple[float, ...], most: int) -> dict[str, Any]:
    return {
        **launch.model_dump(),
        "median_ms": summarize(samples_ms).median_ms if samples_ms else None,
        "points": drawn_points(samples_ms, most),
    }
