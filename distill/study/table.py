"""A study's figures as tables: Markdown to read, CSV for programs, a narrow one for the terminal."""

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from distill.contract import write_whole
from distill.study.comparison import Difference, Estimate, Lead, Line, leads
from distill.study.run import Result

MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
HEAD = (
    "student",
    "family",
    "technique",
    "runs",
    "accuracy %",
    "of teacher",
    "last epoch %",
    "macro F1",
    "ECE",
    "entropy",
    "batch ms",
    "epoch s",
    "against",
    "difference",
    "difference, last epoch",
)
NARROW_HEAD = ("technique", "runs", "accuracy %", "of teacher", "ECE", "batch ms", "epoch s", "against baseline")
DIFFERENCE = ("difference", "difference_half_width_95", "pairs", "p_value_holm", "verdict")
QUANTITIES = ("accuracy", "last_accuracy", "macro_f1", "ece", "entropy_nats", "relative_accuracy")


def write_tables(folder: Path, name: str, lines: Sequence[Line], results: Sequence[Result]) -> None:
    """Write `table.md` and `table.csv` into the study's folder."""
    write_whole(folder / MARKDOWN_FILE, markdown(name, lines, results).encode())
    write_whole(folder / CSV_FILE, comma_separated(lines).encode())


def cells_of(line: Line) -> tuple[str, ...]:
    """A line in words, one entry per column of `HEAD`."""
    return (
        line.student,
        line.family,
        line.technique,
        _runs(line),
        _with_interval(line.accuracy, scale=100, digits=2),
        _with_interval(line.relative_accuracy, scale=1, digits=3),
        _with_interval(line.last_accuracy, scale=100, digits=2),
        _with_interval(line.macro_f1, scale=1, digits=3),
        _with_interval(line.ece, scale=1, digits=3),
        _with_interval(line.entropy_nats, scale=1, digits=3),
        _plain(line.median_batch_ms, digits=1),
        _plain(line.min_epoch_s, digits=2),
        "–" if line.against_baseline is None else line.against_baseline.baseline,
        _difference(line.against_baseline),
        _difference(line.last_against_baseline),
    )


def narrow_tables(lines: Sequence[Line]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each student its lines in words, one entry per column of `NARROW_HEAD`: some 110 characters wide."""
    return [
        (student, [_narrow_cells_of(line) for line in of_student])
        for student, of_student in groupby(lines, key=lambda line: line.student)
    ]


def markdown(name: str, lines: Sequence[Line], results: Sequence[Result]) -> str:
    """The table with sentences on how to read it and a list of failed cells."""
    parts = [f"# {name}\n", _how_to_read(lines), "", *_teachers(results), _conditions(results), "", *_leads(results)]
    parts.append("| " + " | ".join(HEAD) + " |")
    parts.append("|" + " --- |" * len(HEAD))
    parts += ["| " + " | ".join(cells_of(line)) + " |" for line in lines]
    failed = [result for result in results if result.card is None]
    if failed:
        parts += ["", "Failed cells:", ""]
        parts += [f"- {r.cell.student}, {r.cell.technique}, seed {r.cell.config.seed}: {r.failure}" for r in failed]
    return "\n".join(parts) + "\n"


def comma_separated(lines: Sequence[Line]) -> str:
    """One row per line, plain numbers as fractions, for other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = [f"{name}_{part}" for name in QUANTITIES for part in ("mean", "std", "half_width_95")]
    times = ["median_batch_ms", "min_epoch_s"]
    extra = [f"{epoch}{name}" for epoch in ("", "last_") for name in DIFFERENCE]
    first = ["student", "family", "technique", "runs", "failed", "num_parameters"]
    writer.writerow([*first, *head, *times, "baseline", *extra])
    for line in lines:
        estimates: list[Estimate | None] = [getattr(line, name) for name in QUANTITIES]
        values = [value for estimate in estimates for value in _parts(estimate)]
        compared = [*_compared(line.against_baseline), *_compared(line.last_against_baseline)]
        writer.writerow(
            [
                line.student,
                line.family,
                line.technique,
                line.accuracy.count,
                line.failed,
                line.num_parameters,
                *values,
                line.median_batch_ms,
                line.min_epoch_s,
                None if line.against_baseline is None else line.against_baseline.baseline,
                *compared,
            ]
        )
    return text.getvalue()


def _compared(difference: Difference | None) -> list[object]:
    if difference is None:
        return [None] * len(DIFFERENCE)
    return [difference.mean, difference.half_width, difference.pairs, difference.p_value, difference.verdict]


def _how_to_read(lines: Sequence[Line]) -> str:
    baselines = list(dict.fromkeys(line.against_baseline.baseline for line in lines if line.against_baseline))
    which = "the baseline" if not baselines else " or ".join(baselines)
    if len(baselines) > 1:
        which = "the technique in the column “against”"
    return (
        "Best-epoch figures on the validation images unless the column says otherwise: mean ± half width of the 95 % t "
        f"interval over seeds. The last two columns are the difference in accuracy from {which}, of the best and of "
        "the last epoch, paired by seed, in percentage points, with its 95 % t interval and a paired t test, "
        "Holm-corrected over the techniques of one student that are compared with the same baseline, or for the same "
        "question. Of masks accuracy is the mIoU, of depth the share of the pixels within a factor of 1.25."
    )


def _teachers(results: Sequence[Result]) -> list[str]:
    known = sorted({result.teacher_accuracy for result in results if result.teacher_accuracy})
    if not known:
        return []
    accuracies = ", ".join(f"{100 * accuracy:.2f} %" for accuracy in known)
    return [f"The teacher's accuracy is {accuracies}; “of teacher” is the student's as a share of it.", ""]


def _leads(results: Sequence[Result]) -> list[str]:
    """A sentence for each student: which technique has the highest mean, and which cannot be told apart from it."""
    found = leads(results)
    if not found:
        return []
    sentences = [
        f"- {lead.student}: {lead.technique} has the highest mean, "
        f"{_with_interval(lead.accuracy, scale=100, digits=2)} %. {_told_apart(lead)}"
        for lead in found
    ]
    how = (
        "What can be told apart from the best, by paired t tests, Holm-corrected over the other techniques of the "
        "student (the best one was chosen by the same figures, which flatters it):"
    )
    return [how, "", *sentences, ""]


def _told_apart(lead: Lead) -> str:
    if not lead.behind:
        return "None of the others can be told apart from it."
    if not lead.alike:
        return "All others are worse."
    return f"Not told apart from it: {', '.join(lead.alike)}. Worse: {', '.join(lead.behind)}."


def _conditions(results: Sequence[Result]) -> str:
    known = sorted({result.times.conditions or "under unknown conditions" for result in results if result.card})
    return (
        "Times are of training and for orientation only: the median batch and the shortest epoch of all runs, run "
        f"{'; '.join(known)}."
    )


def _narrow_cells_of(line: Line) -> tuple[str, ...]:
    difference = line.against_baseline
    p_value = "" if difference is None or difference.p_value is None else f", p = {difference.p_value:.3f}"
    verdict = "" if difference is None else difference.verdict.replace("no difference", "not")
    return (
        line.technique,
        _runs(line),
        _with_interval(line.accuracy, scale=100, digits=2),
        "–" if line.relative_accuracy is None else f"{line.relative_accuracy.mean:.3f}",
        "–" if line.ece is None else f"{line.ece.mean:.3f}",
        _plain(line.median_batch_ms, digits=1),
        _plain(line.min_epoch_s, digits=2),
        "–" if difference is None else f"{100 * difference.mean:+.2f} {verdict}{p_value}",
    )


def _runs(line: Line) -> str:
    return f"{line.accuracy.count}" + (f" (+{line.failed} failed)" if line.failed else "")


def _parts(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.mean, estimate.std, estimate.half_width)


def _plain(value: float | None, *, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _with_interval(estimate: Estimate | None, *, scale: float, digits: int) -> str:
    if estimate is None:
        return "–"
    mean = f"{scale * estimate.mean:.{digits}f}"
    return mean if estimate.half_width is None else f"{mean} ± {scale * estimate.half_width:.{digits}f}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    interval = "" if difference.half_width is None else f" ± {100 * difference.half_width:.2f}"
    p_value = "" if difference.p_value is None else f", p = {difference.p_value:.3f}"
    return f"{100 * difference.mean:+.2f}{interval}: {difference.verdict}{p_value}"
