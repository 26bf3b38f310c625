"""The table at the end of a session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.compare.speed_up import Row
from bench.compare.tables import MISSING, STYLE
from bench.timing.intervals import median_interval
from distill.terminal import console, say, table
from distill.vision.tasks import share_among

UNLIMITED = 1000
"""Columns of text, more than any table needs."""


@dataclass(frozen=True)
class Column:
    """One column: head (with the measure's words), cell of a row, whether it is for wide terminals, least width."""

    title: str
    cell: Callable[[Row], str]
    wide_only: bool = False
    min_width: int | None = None


def _known(row: Row) -> str:
    """Half the width of the median's interval."""
    samples = row.measurement.samples_by_launch
    return f"{100 * median_interval(samples).half_width:.1f}" if samples else MISSING


def _path_ms(row: Row) -> float | None:
    path = row.measurement.path
    return None if path is None else dict(path.medians())["total_ms"]


BATCH = Column("batch", lambda row: str(row.measurement.batch))
THREADS = Column("threads", lambda row: str(row.measurement.threads))
ACCELERATOR = Column("runs as", lambda row: row.measurement.accelerator_requested or MISSING, min_width=10)
"""Shown where there is a GPU: there one artifact has several rows."""

PATH = Column("path ms", lambda row: _number(_path_ms(row), ".3f"))
"""Shown where the whole path was timed."""

ACCURACY_HERE = Column("{short} here", lambda row: _number(row.measurement.measured_accuracy, ".4f"))
"""Shown where held-out pictures were answered."""

COLUMNS = (
    Column("model", lambda row: escape(row.name) + _marks(row), min_width=18),
    Column("format", lambda row: row.measurement.subject.format, min_width=11),
    Column("prec.", lambda row: row.measurement.subject.precision, min_width=5),
    ACCELERATOR,
    BATCH,
    THREADS,
    Column("median ms", lambda row: _number(row.summary and row.summary.median_ms, ".3f")),
    Column("± %", _known, wide_only=True),
    Column("p10", lambda row: _number(row.summary and row.summary.p10_ms, ".3f"), wide_only=True),
    Column("p90", lambda row: _number(row.summary and row.summary.p90_ms, ".3f"), wide_only=True),
    Column("load ms", lambda row: _number(row.measurement.load_ms, ".1f"), wide_only=True),
    Column("MB", lambda row: f"{row.measurement.subject.size_bytes / 1e6:.2f}"),
    Column("params M", lambda row: f"{row.measurement.subject.num_parameters / 1e6:.2f}", wide_only=True),
    PATH,
    Column("{short}", lambda row: _number(row.measurement.subject.accuracy, ".4f")),
    ACCURACY_HERE,
    Column("speed-up", lambda row: _number(row.speed_up and row.speed_up.value, ".2f", unit=" ×")),
    Column("± %", lambda row: _number(row.speed_up and 100 * row.speed_up.half_width, ".1f"), wide_only=True),
    Column("validity", lambda row: f"[{STYLE[row.measurement.validity]}]{row.measurement.validity}[/]", min_width=8),
)


def _marks(row: Row) -> str:
    teacher = " (teacher)" if row.role == "teacher" else ""
    fell_back = (
        f" [red](no {escape(row.measurement.accelerator_requested or '')})[/]" if row.measurement.fell_back else ""
    )
    return f"{teacher} (emulated){fell_back}" if row.measurement.device.emulated else f"{teacher}{fell_back}"


def show_table(rows: Sequence[Row]) -> None:
    """Print one line per row on stderr; a narrow terminal gets the columns that matter most."""
    whole = measured_table(rows, wide=True)
    needed = Console(width=UNLIMITED).measure(whole).maximum
    if not console.is_terminal:
        # A file or a pipe has no width of its own; Rich would take 80.
        Console(stderr=True, highlight=False, width=needed).print(whole)
    else:
        console.print(whole if needed <= console.width else measured_table(rows, wide=False))
    for note in (base_note(rows), doubt_note(rows)):
        if note:
            say(f"[dim]{escape(note)}[/]")


def measured_table(rows: Sequence[Row], *, wide: bool) -> Table:
    """The rows as a table. Batch and threads stand in the title where all rows agree."""
    shared = [column for column in (BATCH, THREADS) if len({column.cell(row) for row in rows}) == 1]
    hidden = [*shared]
    if not any(row.measurement.device.kind == "cuda" or row.measurement.accelerator_requested == "gpu" for row in rows):
        hidden.append(ACCELERATOR)
    hidden += [column for column in (PATH, ACCURACY_HERE) if all(column.cell(row) == MISSING for row in rows)]
    columns = [column for column in COLUMNS if column not in hidden and (wide or not column.wide_only)]
    title = ", ".join(["Latency per call", *(f"{column.title} {column.cell(rows[0])}" for column in shared)])
    told = share_among(row.measurement.subject.task for row in rows).words
    result = table(
        title,
        [column.title.format_map(told) for column in columns],
        [[column.cell(row) for column in columns] for row in rows],
    )
    result.box = box.SIMPLE_HEAD
    result.collapse_padding = True
    result.pad_edge = result.show_edge = False
    result.padding = (0, 1) if wide else 0
    for shape, column in zip(result.columns, columns, strict=True):
        shape.min_width = column.min_width
        shape.overflow = "fold"
    return result


def base_note(rows: Sequence[Row]) -> str:
    """What the speed-ups are taken against, in one sentence."""
    teachers = ", ".join(sorted({row.base_name or "" for row in rows if row.base_kind == "teacher"}))
    others = ", ".join(sorted({row.base_name or "" for row in rows if row.base_kind == "slowest-eager"}))
    if teachers and others:
        return f"speed-up: against the teacher in eager PyTorch, {teachers}; elsewhere the slowest in eager, {others}"
    if teachers:
        return f"speed-up: against the teacher in eager PyTorch, {teachers}"
    if others:
        return f"speed-up: no teacher was measured, so against the slowest row in eager PyTorch, {others}"
    if all(row.measurement.device.emulated for row in rows):
        return "no speed-up: times of an emulated device say nothing of any product and are not ranked"
    return "no speed-up: it is taken against an eager row, and there is none; measure the teacher in the same call"


def doubt_note(rows: Sequence[Row]) -> str | None:
    """How many rows were disturbed, and what helps; None if none was."""
    doubtful = [row for row in rows if row.measurement.validity not in ("valid", "failed")]
    if not doubtful:
        return None
    held = "; speed-ups between rows measured in turn suffer less" if any(map(_in_turn, doubtful)) else ""
    return (
        f"{len(doubtful)} of {len(rows)} rows were disturbed, for the reasons above{held}. "
        "What helps: a quieter machine, or more launches (--launches)"
    )


def _in_turn(row: Row) -> bool:
    return any(launch.together is not None for launch in row.measurement.launches)


def _number(value: float | None, form: str, *, unit: str = "") -> str:
    return MISSING if value is None else f"{value:{form}}{unit}"
