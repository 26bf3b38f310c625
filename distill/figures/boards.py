"""The tables of the PURSUhInT paper from a study's finished runs, as Markdown and CSV beside its figures."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill.contract import write_whole
from distill.figures.cost import like_conditions, speed_ups
from distill.figures.hints import HintPair, challengers, hint_pairs
from distill.figures.journal import Time
from distill.figures.runs import Repeat, StudyRuns, accuracy, best_technique, over_seeds
from distill.study.comparison import Estimate, estimate, holm, paired_p_value

Value = str | float | Estimate | None
"""Of a cell: words, a number, or a mean over seeds; None where there is nothing."""


@dataclass(frozen=True)
class Board:
    """A table.

    Attributes:
        name: stem of its files.
        head: one entry per column.
        rows: as wide as the head; estimates are fractions, shown in percent.
    """

    name: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def write_boards(study: StudyRuns, times: Sequence[Time], folder: Path) -> list[Board]:
    """Write `NAME.md` and `NAME.csv` of every table that the study has something for."""
    written = list(boards(study, times))
    for board in written:
        write_whole(folder / f"{board.name}.md", markdown(board).encode())
        write_whole(folder / f"{board.name}.csv", comma_separated(board).encode())
    return written


def boards(study: StudyRuns, times: Sequence[Time]) -> Iterator[Board]:
    """Tables 2, 4, 5 and 7, as far as there are runs for them."""
    if any(len(names) > 1 for names in _positions(study).values()):
        yield positions_board(study)
    if pairs := hint_pairs(study):
        yield hints_board(study, pairs)
    if any(repeat.config.method.family in ("features", "relations") for repeat in study.repeats):
        yield methods_board(study)
        yield compression_board(study, times)


def positions_board(study: StudyRuns) -> Board:
    """Table 2: one method with the teacher read at several places."""
    rows: list[tuple[Value, ...]] = []
    for (student, baseline), names in _positions(study).items():
        for technique in (baseline, *names):
            repeats = study.of(student, technique)
            hints = repeats[0].config.hints
            rows.append(
                (student, technique, "stages" if hints is None else hints.metric, accuracy(repeats), _last(repeats))
            )
    return Board(
        "hint-positions",
        "Where in a cluster a hint lies",
        f"{study.basis()} {ESTIMATES}",
        ("student", "technique", "clusters by", "accuracy %", "last epoch %"),
        tuple(rows),
    )


def hints_board(study: StudyRuns, pairs: Sequence[HintPair]) -> Board:
    """Table 4: every system at its conventional places and at searched hints."""
    rows: list[tuple[Value, ...]] = []
    for student in dict.fromkeys(pair.student for pair in pairs):
        of_student = [pair for pair in pairs if pair.student == student]
        differences = [_differences(pair) for pair in of_student]
        raw = [paired_p_value(values) for values in differences]
        corrected = iter(holm([p for p in raw if p is not None]))
        vanilla = study.of(student, study.baseline)
        for pair, values, p_value in zip(of_student, differences, raw, strict=True):
            rows.append(
                (
                    student,
                    pair.system,
                    accuracy(vanilla) if vanilla else None,
                    accuracy(pair.conventional),
                    accuracy(pair.searched),
                    estimate(values) if values else None,
                    None if p_value is None else f"{next(corrected):.3f}",
                )
            )
    caption = (
        f"{study.basis()} {ESTIMATES} The difference is paired by seed, in percentage points; p is of its paired t "
        "test, Holm-corrected over the systems of a student."
    )
    head = ("student", "system", study.baseline, "conventional", "searched", "searched - conventional", "p")
    return Board("hints-compared", "Conventional places and searched hints", caption, head, tuple(rows))


def methods_board(study: StudyRuns) -> Board:
    """Table 5: every technique for every pair of networks, last epoch."""
    rows: list[tuple[Value, ...]] = []
    if study.teachers:
        of_teachers = [study.teachers.get(student) for student in study.students]
        named = [None if teacher is None else f"{100 * teacher.last.accuracy:.2f}" for teacher in of_teachers]
        rows.append(("", "teacher", *named))
    for technique in dict.fromkeys(repeat.technique for repeat in study.repeats):
        family = next(repeat.config.method.family for repeat in study.repeats if repeat.technique == technique)
        found = [study.of(student, technique) for student in study.students]
        rows.append((family, technique, *(_last(repeats) if repeats else None for repeats in found)))
    caption = (
        f"{study.basis()} Accuracy of the last epoch on the validation images, so that no epoch was chosen by them: "
        "mean ± half width of the 95 % t interval over seeds, in percent. What can be told apart is in the study's "
        "table."
    )
    head = ("family", "technique", *study.students)
    return Board("methods-compared", "Every method, last epoch", caption, head, tuple(rows))


def compression_board(study: StudyRuns, times: Sequence[Time]) -> Board:
    """Table 7: what each student saves, with its best technique, at searched hints if there are such."""
    rows: list[tuple[Value, ...]] = []
    for student, teacher in study.teachers.items():
        repeats = _best(study, student)
        if not repeats:
            continue
        alone = replace(study, repeats=tuple(run for run in study.repeats if run.student == student), teacher=teacher)
        conditions, costs = like_conditions(alone, times), speed_ups(alone, times)
        measured = {time.checkpoint_sha256: time.latency_ms for time in times if time.conditions == conditions}
        ours = [measured[run.card.weights_sha256] for run in alone.repeats if run.card.weights_sha256 in measured]
        size, of_teacher = repeats[0].card.num_parameters, teacher.card.num_parameters
        teacher_ms = measured.get(teacher.card.weights_sha256)
        rows += [
            (
                f"teacher {teacher.card.model}",
                None,
                of_teacher,
                None,
                None if teacher_ms is None else f"{teacher_ms:.2f}",
                None,
                f"{100 * teacher.accuracy:.2f}",
            ),
            (
                student,
                repeats[0].technique,
                size,
                f"{100 * (1 - size / of_teacher):.1f}",
                f"{sum(ours) / len(ours):.2f}" if ours else None,
                None if costs is None else f"{next(iter(costs.students.values())).value:.2f}",
                accuracy(repeats),
            ),
        ]
    caption = f"{study.basis()} {ESTIMATES} {_measured(study, times)}"
    head = ("network", "technique", "parameters", "saved %", "inference ms", "speed-up", "accuracy %")
    return Board("compression", "What the students save", caption, head, tuple(rows))


def markdown(board: Board) -> str:
    """Title, caption and table."""
    lines = [f"# {board.title}", "", board.caption, "", "| " + " | ".join(board.head) + " |"]
    lines += ["|" + " --- |" * len(board.head)]
    lines += ["| " + " | ".join(_words(value) for value in row) + " |" for row in board.rows]
    return "\n".join(lines) + "\n"


def comma_separated(board: Board) -> str:
    """The table for programs; a column of estimates becomes two, `_mean` and `_half_width_95`, as fractions."""
    estimated = [any(isinstance(row[at], Estimate) for row in board.rows) for at in range(len(board.head))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        part
        for name, split in zip(board.head, estimated, strict=True)
        for part in ((f"{name}_mean", f"{name}_half_width_95") if split else (name,))
    )
    for row in board.rows:
        writer.writerow(
            part for value, split in zip(row, estimated, strict=True) for part in _parts(value, split=split)
        )
    return text.getvalue()


ESTIMATES = (
    "Accuracy of the best epoch on the validation images: mean ± half width of the 95 % t interval over seeds, in "
    "percent."
)


def _positions(study: StudyRuns) -> dict[tuple[str, str], list[str]]:
    """Of `challengers` those that are several and of which some were searched."""
    return {
        (student, baseline): names
        for (student, baseline), names in challengers(study).items()
        if len(names) > 1
        and study.of(student, baseline)
        and any(repeat.config.hints is not None for name in names for repeat in study.of(student, name))
    }


def _last(repeats: Sequence[Repeat]) -> Estimate:
    return over_seeds(repeats, lambda repeat: repeat.last.accuracy)


def _differences(pair: HintPair) -> list[float]:
    """Searched - conventional, of the seeds that both have."""
    ours, theirs = (
        {repeat.config.seed: repeat.best.accuracy for repeat in repeats}
        for repeats in (pair.searched, pair.conventional)
    )
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def _best(study: StudyRuns, student: str) -> list[Repeat]:
    taught = [run for run in study.repeats if run.student == student and not run.supervised]
    searched = [run for run in taught if run.config.hints is not None]
    technique = best_technique(searched or taught)
    return [run for run in taught if run.technique == technique]


def _measured(study: StudyRuns, times: Sequence[Time]) -> str:
    for student, teacher in study.teachers.items():
        alone = replace(study, repeats=tuple(run for run in study.repeats if run.student == student), teacher=teacher)
        if (conditions := like_conditions(alone, times)) is not None:
            return f"Times: {conditions}."
    return "Times are not measured; `python -m bench` measures them, and --measurements names its journal."


def _words(value: Value) -> str:
    match value:
        case None:
            return "–"
        case Estimate(mean=mean, half_width=half):
            return f"{100 * mean:.2f}" + ("" if half is None else f" ± {100 * half:.2f}")
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _parts(value: Value, *, split: bool) -> tuple[object, ...]:
    if isinstance(value, Estimate):
        return (value.mean, value.half_width)
    return (value, None) if split else (value,)
