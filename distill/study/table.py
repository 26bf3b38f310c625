"""A study's figures as tables: Markdown to read, CSV for programs, a narrow one for the terminal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from distill.contract import write_whole
from distill.study.comparison import Difference, Estimate, Lead, Line, leads, teachers_share
from distill.study.run import Result
from distill.vision.tasks import ACCURACY, Measure

MARKDOWN_FILE = "table.md"
CSV_FILE = "table.csv"
DIFFERENCE = ("difference", "difference_half_width_95", "pairs", "p_value_holm", "verdict")


@dataclass(frozen=True)
class Shown:
    """How a metric is shown: its head, and its value times `scale` with so many digits."""

    head: str
    scale: float = 1.0
    digits: int = 3


SHOWN = {
    "accuracy": Shown("accuracy %", 100, 2),
    "macro_f1": Shown("macro F1"),
    "ece": Shown("ECE"),
    "entropy_nats": Shown("entropy"),
    "dice": Shown("Dice"),
    "pixel_accuracy": Shown("pixel accuracy %", 100, 2),
    "rmse_m": Shown("RMSE m"),
    "rel": Shown("REL"),
}
"""Metrics that are shown beside the one that runs are compared by."""

NARROW = ("ece", "rmse_m", "dice")
"""Of those the ones that a terminal has room for: one of each task."""

OPTIONAL = ("batch ms", "epoch s", *(SHOWN[name].head for name in NARROW), "of teacher", "runs")
"""Columns that a terminal does without where it is narrow, the first one first."""


def write_tables(folder: Path, name: str, lines: Sequence[Line], results: Sequence[Result]) -> None:
    """Write `table.md` and `table.csv` into the study's folder."""
    write_whole(folder / MARKDOWN_FILE, markdown(name, lines, results).encode())
    write_whole(folder / CSV_FILE, comma_separated(lines).encode())


def head(lines: Sequence[Line]) -> tuple[str, ...]:
    """The columns for these lines: their measure, and the other metrics that they have."""
    return (
        *("student", "family", "technique", "runs"),
        *(f"{_measure(lines).title} %", "of teacher", "last epoch %"),
        *(SHOWN[name].head for name in _others(lines)),
        *("batch ms", "epoch s", "against", "difference", "difference, last epoch"),
    )


def narrow_head(lines: Sequence[Line]) -> tuple[str, ...]:
    """The columns of the terminal."""
    others = (SHOWN[name].head for name in _others(lines) if name in NARROW)
    title = f"{_measure(lines).title} %"
    return ("technique", "runs", title, "of teacher", *others, "batch ms", "epoch s", "against baseline")


def cells_of(line: Line, others: Sequence[str]) -> tuple[str, ...]:
    """A line in words, one entry per column of `head`; `others` are the metrics beside the measure."""
    return (
        line.student,
        line.family,
        line.technique,
        _runs(line),
        _with_interval(line.best, scale=100, digits=2),
        _with_interval(line.relative, scale=1, digits=3),
        _with_interval(line.last, scale=100, digits=2),
        *(_with_interval(line.others.get(name), scale=SHOWN[name].scale, digits=SHOWN[name].digits) for name in others),
        _plain(line.median_batch_ms, digits=1),
        _plain(line.min_epoch_s, digits=2),
        "–" if line.against_baseline is None else line.against_baseline.baseline,
        _difference(line.against_baseline),
        _difference(line.last_against_baseline),
    )


def narrow_tables(lines: Sequence[Line]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each student its lines in words, one entry per column of `narrow_head`: some 110 characters wide."""
    others = [name for name in _others(lines) if name in NARROW]
    return [
        (student, [_narrow_cells_of(line, others) for line in of_student])
        for student, of_student in groupby(lines, key=lambda line: line.student)
    ]


def markdown(name: str, lines: Sequence[Line], results: Sequence[Result]) -> str:
    """The table with sentences on how to read it and a list of failed cells."""
    parts = [
        f"# {name}\n",
        _how_to_read(lines),
        "",
        *_teachers(results, _measure(lines)),
        _conditions(results),
        "",
        *_leads(results),
    ]
    columns, others = head(lines), _others(lines)
    parts.append("| " + " | ".join(columns) + " |")
    parts.append("|" + " --- |" * len(columns))
    parts += ["| " + " | ".join(cells_of(line, others)) + " |" for line in lines]
    failed = [result for result in results if result.card is None]
    if failed:
        parts += ["", "Failed cells:", ""]
        parts += [f"- {r.cell.student}, {r.cell.technique}, seed {r.cell.config.seed}: {r.failure}" for r in failed]
    return "\n".join(parts) + "\n"


def comma_separated(lines: Sequence[Line]) -> str:
    """One row per line, plain numbers, shares as fractions, for other programs."""
    name, others = _measure(lines).name, _others(lines)
    quantities = (name, f"last_{name}", *others, f"relative_{name}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    estimated = [f"{quantity}_{part}" for quantity in quantities for part in ("mean", "std", "half_width_95")]
    times = ["median_batch_ms", "min_epoch_s"]
    extra = [f"{epoch}{name}" for epoch in ("", "last_") for name in DIFFERENCE]
    first = ["student", "family", "technique", "runs", "failed", "num_parameters"]
    writer.writerow([*first, *estimated, *times, "baseline", *extra])
    for line in lines:
        estimates = [line.best, line.last, *(line.others.get(other) for other in others), line.relative]
        values = [value for estimate in estimates for value in _parts(estimate)]
        compared = [*_compared(line.against_baseline), *_compared(line.last_against_baseline)]
        writer.writerow(
            [
                line.student,
                line.family,
                line.technique,
                line.best.count,
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


def _measure(lines: Sequence[Line]) -> Measure:
    return next((line.measure for line in lines), ACCURACY)


def _others(lines: Sequence[Line]) -> list[str]:
    """The metrics beside the measure that any line has."""
    return [name for name in SHOWN if any(name in line.others for line in lines)]


def _how_to_read(lines: Sequence[Line]) -> str:
    baselines = list(dict.fromkeys(line.against_baseline.baseline for line in lines if line.against_baseline))
    which = "the baseline" if not baselines else " or ".join(baselines)
    if len(baselines) > 1:
        which = "the technique in the column “against”"
    return (
        "Best-epoch figures on the validation images unless the column says otherwise: mean ± half width of the 95 % t "
        f"interval over seeds. The last two columns are the difference in {_measure(lines).title} from {which}, of "
        "the best and of the last epoch, paired by seed, in percentage points, with its 95 % t interval and a paired "
        "t test, Holm-corrected over the techniques of one student that are compared with the same baseline, or for "
        "the same question."
    )


def _teachers(results: Sequence[Result], measure: Measure) -> list[str]:
    known = sorted({share for result in results if (share := teachers_share(result, measure))})
    if not known:
        return []
    shares = ", ".join(f"{100 * share:.2f} %" for share in known)
    return [f"The teacher's {measure.title} is {shares}; “of teacher” is the student's as a share of it.", ""]


def _leads(results: Sequence[Result]) -> list[str]:
    """A sentence for each student: which technique has the highest mean, and which cannot be told apart from it."""
    found = leads(results)
    if not found:
        return []
    sentences = [
        f"- {lead.student}: {lead.technique} has the highest mean, "
        f"{_with_interval(lead.best, scale=100, digits=2)} %. {_told_apart(lead)}"
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


def _narrow_cells_of(line: Line, others: Sequence[str]) -> tuple[str, ...]:
    difference = line.against_baseline
    p_value = "" if difference is None or difference.p_value is None else f", p = {difference.p_value:.3f}"
    verdict = "" if difference is None else difference.verdict.replace("no difference", "not")
    return (
        line.technique,
        _runs(line),
        _with_interval(line.best, scale=100, digits=2),
        "–" if line.relative is None else f"{line.relative.mean:.3f}",
        *(f"{line.others[name].mean:.3f}" if name in line.others else "–" for name in others),
        _plain(line.median_batch_ms, digits=1),
        _plain(line.min_epoch_s, digits=2),
        "–" if difference is None else f"{100 * difference.mean:+.2f} {verdict}{p_value}",
    )


def _runs(line: Line) -> str:
    return f"{line.best.count}" + (f" (+{line.failed} failed)" if line.failed else "")


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
