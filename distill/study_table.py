"""A study's figures as a Markdown and a CSV table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from distill.comparison import Estimate, Line
from distill.contract import write_whole
from distill.study import Result

MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
HEAD = ("student", "technique", "runs", "accuracy %", "last epoch %", "macro F1", "ECE", "entropy", "against baseline")


def write_tables(folder: Path, name: str, baseline: str, lines: Sequence[Line], results: Sequence[Result]) -> None:
    """Write `table.md` and `table.csv` into the study's folder."""
    write_whole(folder / MARKDOWN_FILE, markdown(name, baseline, lines, results).encode())
    write_whole(folder / CSV_FILE, comma_separated(lines).encode())


def cells_of(line: Line) -> tuple[str, ...]:
    """A line in words, one entry per column of `HEAD`."""
    return (
        line.student,
        line.technique,
        f"{line.accuracy.count}" + (f" (+{line.failed} failed)" if line.failed else ""),
        _with_interval(line.accuracy, scale=100, digits=2),
        _with_interval(line.last_accuracy, scale=100, digits=2),
        _with_interval(line.macro_f1, scale=1, digits=3),
        _with_interval(line.ece, scale=1, digits=3),
        _with_interval(line.entropy_nats, scale=1, digits=3),
        _difference(line),
    )


def markdown(name: str, baseline: str, lines: Sequence[Line], results: Sequence[Result]) -> str:
    """The table with a sentence on how to read it and a list of failed cells."""
    parts = [f"# {name}\n", _how_to_read(baseline), ""]
    parts.append("| " + " | ".join(HEAD) + " |")
    parts.append("|" + " --- |" * len(HEAD))
    parts += ["| " + " | ".join(cells_of(line)) + " |" for line in lines]
    failed = [result for result in results if result.card is None]
    if failed:
        parts += ["", "Failed cells:", ""]
        parts += [
            f"- {r.cell.config.model}, {r.cell.technique}, seed {r.cell.config.seed}: {r.failure}" for r in failed
        ]
    return "\n".join(parts) + "\n"


def comma_separated(lines: Sequence[Line]) -> str:
    """One row per line, plain numbers as fractions, for other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    quantities = ("accuracy", "last_accuracy", "macro_f1", "ece", "entropy_nats")
    head = [f"{name}_{part}" for name in quantities for part in ("mean", "std", "half_width_95")]
    extra = ["difference", "pairs", "p_value_holm", "verdict"]
    writer.writerow(["student", "technique", "runs", "failed", "num_parameters", *head, *extra])
    for line in lines:
        estimates: list[Estimate] = [getattr(line, name) for name in quantities]
        values = [value for found in estimates for value in (found.mean, found.std, found.half_width)]
        against = line.against_baseline
        compared = [against.mean, against.pairs, against.p_value, against.verdict] if against else [None] * 4
        writer.writerow(
            [line.student, line.technique, line.accuracy.count, line.failed, line.num_parameters, *values, *compared]
        )
    return text.getvalue()


def _how_to_read(baseline: str) -> str:
    return (
        "Best-epoch figures on the validation images unless the column says otherwise: mean ± half width of the 95 % t "
        f"interval over seeds. The last column is the difference in accuracy from {baseline}, paired by seed, in "
        "percentage points, with a paired t test, Holm-corrected over the techniques of one student."
    )


def _with_interval(found: Estimate, *, scale: float, digits: int) -> str:
    mean = f"{scale * found.mean:.{digits}f}"
    return mean if found.half_width is None else f"{mean} ± {scale * found.half_width:.{digits}f}"


def _difference(line: Line) -> str:
    found = line.against_baseline
    if found is None:
        return "–"
    p_value = "" if found.p_value is None else f", p = {found.p_value:.3f}"
    return f"{100 * found.mean:+.2f}: {found.verdict}{p_value}"
