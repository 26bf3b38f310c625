"""`python -m bench plan`: time students before they are trained, so that only those inside a budget are."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from bench.compare.app_bytes import RuntimeBytesOption, in_words, runtime_bytes
from bench.compare.choice import latency_of
from bench.compare.choose import LATENCY_IN_WORDS, LatencyOption
from bench.compare.counted import NO_PATH, latency_that_counts
from bench.compare.rehearsal import RehearseOption, counted
from bench.compare.tables import MISSING, STYLE, show_compactly
from bench.devices import find_device
from bench.record import Measurement, read_journal
from bench.record.carried import RuntimeBytes
from bench.session.cells import whole_numbers
from bench.timing.intervals import Interval
from distill.errors import UsageError, WorkFailed
from distill.terminal import answer, say, table
from distill.vision.tasks import TaskName

OUT = Path("out/plan")
STUDENTS = "mobilenet_v3_small,mobilenet_v3_large,shufflenet_v2_x1_0,ghostnet_100"
STUDIES: dict[TaskName, str] = {
    "classification": "demo-study",
    "segmentation": "demo-segmentation-study",
    "depth": "demo-depth-study",
}
"""Task of untrained students -> the study that trains such ones on the embedded data."""
PICTURES = 32
UNTIMED = {"validity": "failed", "reason": NO_PATH, "samples_ms": (), "launches": ()}
"""Of a row that lacks the samples that count."""

NO_PRODUCT = "eager"
"""The format that is the base of comparisons and never a product."""


@dataclass(frozen=True)
class Timed:
    """One artifact of an untrained student.

    Attributes:
        student: as asked for.
        latency_ms: median per call with its 95 % interval; None if the row is wrong.
        size_bytes: of the model, and of its runtime in an app as far as that was weighed.
        runtime_bytes: of the runtime, as `Candidate` has it.
        is_inside: whether it keeps the budget: the upper end of the interval counts, as in `bench.compare.choice`.
        is_open: whether only the interval leaves open that it keeps the budget.
    """

    student: str
    row: Measurement
    latency_ms: Interval | None
    size_bytes: int
    runtime_bytes: int | None
    is_inside: bool
    is_open: bool = False


def plan(
    max_latency_ms: Annotated[float, typer.Option(min=0, help="Per call; the upper end of the median's interval.")],
    max_size_mb: Annotated[
        float | None, typer.Option(min=0, help="Of the model on disk, 10^6 bytes; on phones with its runtime.")
    ] = None,
    students: Annotated[str, typer.Option(help="Networks, as python -m distill list names them.")] = STUDENTS,
    device: Annotated[str, typer.Option(help="What to measure on.")] = "cpu",
    size: Annotated[int, typer.Option(min=8, help="Side of the input in pixels.")] = 64,
    channels: Annotated[int, typer.Option(help="3, or 1 for grey.")] = 1,
    classes: Annotated[int, typer.Option(min=1, help="How many classes they will tell apart; 1: depth.")] = 10,
    threads: Annotated[str, typer.Option(help="Threads of the runtime.")] = "1",
    format: Annotated[str | None, typer.Option(help="Of the export.", show_default="the export's usual")] = None,
    precision: Annotated[str | None, typer.Option(help="Of the export.", show_default="the export's usual")] = None,
    latency: LatencyOption = None,
    study: Annotated[
        str | None, typer.Option(help="Study that will train those inside.", show_default="the demo's of their task")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for their artifacts and a journal of their own.")] = OUT,
    runtime_bytes_file: RuntimeBytesOption = None,
    rehearse: RehearseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Export students with random weights, measure them, and say which are worth training.

    Latency and bytes hardly depend on the values of the weights, so they are known before the quality is. The last
    line on stdout names the students that are inside in at least one format, for `python -m distill study --students`.
    The rows have no measure of quality and a journal of their own: `choose` never takes one for a trained model.

    Exit code 1 if no student is inside.
    """
    names = _students(students)
    whole_numbers(threads, "--threads")
    find_device(device)
    carried = runtime_bytes(device, runtime_bytes_file)
    journal = out / "measurements.jsonl"
    seen = len(read_journal(journal).measurements) if journal.is_file() else 0
    described = [f"--untrained={classes}", f"--size={size}", f"--channels={channels}"]
    wanted = [f"--{option}={value}" for option, value in (("format", format), ("precision", precision)) if value]
    artifacts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="plan-") as pictures:
        write_noise(Path(pictures), size, channels)
        calibration = [f"--calibration-folder={pictures}", "--allow-loss"]
        for name in names:
            say(f"exporting {escape(name)}, untrained")
            folder = out / name.replace(":", "-").replace("/", "-")
            told = _run("export", f"--model={name}", *described, *wanted, *calibration, f"--out={folder}", "--json")
            artifacts += [record["folder"] for record in json.loads(told) if record["status"] in ("made", "unchanged")]
    if not artifacts:
        raise WorkFailed("no student could be exported; the reasons stand above.")
    with_path = ["--path"] if latency == "pipeline" else ["--no-path"] if latency == "model" else []
    _run("bench", "measure", *artifacts, f"--device={device}", f"--threads={threads}", f"--out={journal}", *with_path)
    measured = counted(read_journal(journal).measurements[seen:], rehearse=rehearse)
    counts = latency_that_counts(measured, latency)
    rows = [row.timed_by(counts) or row.model_copy(update=UNTIMED) for row in measured]
    timed = [judge(row, max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, carried=carried) for row in rows]
    inside = list(dict.fromkeys(candidate.student for candidate in timed if candidate.is_inside))
    limits = f"{max_latency_ms:g} ms" + (f" and {max_size_mb:g} MB" if max_size_mb is not None else "")
    if as_json:
        answer(
            json.dumps(
                {"latency": counts, "inside": inside, "timed": [_as_record(candidate) for candidate in timed]}, indent=2
            )
        )
    else:
        bytes_too = f", {in_words(carried)}" if device == "android" else ""
        how = f"{size} px, {LATENCY_IN_WORDS[counts]}{bytes_too}"
        _show(timed, f"Untrained students on {device}, {how} within {limits}")
        left_open = list(
            dict.fromkeys(
                candidate.student for candidate in timed if candidate.is_open and candidate.student not in inside
            )
        )
        if left_open:
            say(
                f"[yellow]open:[/] the intervals of {escape(', '.join(left_open))} lie across the limit; to tell, run "
                "this again on a quieter machine"
            )
        if inside:
            wanted_study = study or STUDIES[measured[0].subject.task]
            say(f"[bold]next:[/] python -m distill study {escape(wanted_study)} --students {escape(','.join(inside))}")
            answer(",".join(inside))
        else:
            say("[red]no student is inside:[/] allow more, or try smaller --students or a smaller --size")
    return 0 if inside else 1


def judge(
    row: Measurement, *, max_latency_ms: float, max_size_mb: float | None, carried: RuntimeBytes | None = None
) -> Timed:
    """Hold one row against the budget; a wrong row and the base format are never inside.

    Args:
        row: measured.
        max_latency_ms: of the budget.
        max_size_mb: of the budget.
        carried: what runtimes add to an app; None where models alone count.
    """
    of_runtime = carried.of(row.subject.format) if carried else 0
    size_bytes = row.subject.size_bytes + (of_runtime or 0)
    if row.wrong:
        return Timed(row.subject.model, row, None, size_bytes, of_runtime, is_inside=False)
    latency_ms = latency_of(row)
    is_small = max_size_mb is None or (of_runtime is not None and size_bytes <= max_size_mb * 1e6)
    may_fit = is_small and row.subject.format != NO_PRODUCT
    is_inside = may_fit and latency_ms.high <= max_latency_ms
    is_open = may_fit and latency_ms.low <= max_latency_ms < latency_ms.high
    return Timed(row.subject.model, row, latency_ms, size_bytes, of_runtime, is_inside=is_inside, is_open=is_open)


def write_noise(folder: Path, size_px: int, channels: int) -> None:
    """Pictures of seeded noise to calibrate int8 on: an untrained network knows nothing of any data."""
    from PIL import Image

    rng = np.random.default_rng(0)
    shape = (size_px, size_px) if channels == 1 else (size_px, size_px, 3)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(folder / f"{number:03}.png")


def _students(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or any(name.startswith("-") for name in names):
        raise UsageError(f"--students {text!r} is not a list of networks. Write it like this: --students {STUDENTS}")
    return list(dict.fromkeys(names))


def _run(module: str, *words: str) -> str:
    """Run another command of ours and return its stdout; what it tells people goes to stderr as ever.

    A single artifact that fails (exit code 1) is named there and costs no other one.

    Raises:
        UsageError: it could not serve the request, for a reason that it has just told.
        WorkFailed: it was ended.
    """
    done = subprocess.run([sys.executable, "-m", module, *words], stdout=subprocess.PIPE, text=True, check=False)
    code = done.returncode
    if code == UsageError.exit_code:
        raise UsageError(f"python -m {module} could not be started; the reason stands above.")
    if code not in (0, WorkFailed.exit_code):
        raise WorkFailed(f"python -m {module} ended with {code}; what is finished so far is kept.")
    return done.stdout


def _show(timed: Sequence[Timed], title: str) -> None:
    columns = ["student", "format", "prec.", "threads", "median ms [95 %]", "MB", "label", "budget"]
    show_compactly(table(escape(title), columns, [_cells(candidate) for candidate in timed]))


def _cells(candidate: Timed) -> list[str]:
    row, latency = candidate.row, candidate.latency_ms
    known = f"{latency.value:.3f} [{latency.low:.3f}, {latency.high:.3f}]" if latency else MISSING
    base = " (the base)" if row.subject.format == NO_PRODUCT else ""
    return [
        escape(candidate.student),
        row.subject.format + base,
        row.subject.precision,
        str(row.threads),
        escape(known),
        f"{candidate.size_bytes / 1e6:.2f}",
        f"[{STYLE[row.validity]}]{row.validity}[/]",
        "[green]inside[/]" if candidate.is_inside else "[yellow]open[/]" if candidate.is_open else "[dim]outside[/]",
    ]


def _as_record(candidate: Timed) -> dict[str, Any]:
    subject, latency = candidate.row.subject, candidate.latency_ms
    return {
        "student": candidate.student,
        "format": subject.format,
        "precision": subject.precision,
        "threads": candidate.row.threads,
        "median_ms": latency and latency.value,
        "median_interval_ms": latency and [latency.low, latency.high],
        "size_bytes": candidate.size_bytes,
        "runtime_bytes": candidate.runtime_bytes,
        "validity": candidate.row.validity,
        "is_inside": candidate.is_inside,
        "is_open": candidate.is_open,
    }
