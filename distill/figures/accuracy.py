"""Accuracy per student and technique beside the teacher's (echo-view paper, figures 2 to 6)."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes

from distill.figures.gallery import Drawing, LeftOut, file_name
from distill.figures.runs import Repeat, StudyRuns, accuracy
from distill.figures.style import (
    BASELINE,
    BLUE,
    GREY,
    PAGE_IN,
    VERMILLION,
    Look,
    half_width,
    padded,
    page,
)

HOW_TO_READ = (
    "Accuracy of the best epoch on the validation images. Filled marks are means over seeds, bars their 95 % t "
    "interval, small open marks the single runs."
)
DISTILLED = Look(BLUE, "o", "-")


@dataclass(frozen=True)
class Row:
    """One line of the plot: a label and the runs behind it."""

    label: str
    repeats: list[Repeat]
    shape: Look


def draw_accuracy(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """One figure with all students, and one per student with all its techniques."""
    if len(study.sizes_px) > 1:
        yield LeftOut("accuracy", "the study has several image sizes; the figure of image sizes shows its accuracies")
        return
    if any(study.best_distilled(student) for student in study.students):
        yield _all_students(study)
    else:
        yield LeftOut("accuracy", f"no technique but {study.baseline} is finished")
    for student in study.students:
        yield _one_student(study, student)


def _all_students(study: StudyRuns) -> Drawing:
    rows: list[Row] = []
    for student in study.students:
        best = study.best_distilled(student)
        named = [(best, DISTILLED), (study.baseline, BASELINE)]
        rows += [
            Row(f"{student}\n{technique}", study.of(student, technique), shape)
            for technique, shape in named
            if technique and study.of(student, technique)
        ]
    caption = (
        f"{study.basis()} {HOW_TO_READ} Per student the technique with the highest mean and {study.baseline}. The "
        "technique was chosen by the same validation images, which flatters it. " + _of_teacher(study)
    )
    title = f"Accuracy of each student: best technique and {study.baseline}"
    return _dot_plot(study, "accuracy", title, caption, rows)


def _one_student(study: StudyRuns, student: str) -> Drawing:
    rows = [
        Row(technique, study.of(student, technique), BASELINE if technique == study.baseline else DISTILLED)
        for technique in study.techniques(student)
    ]
    caption = f"{study.basis()} {HOW_TO_READ} " + _of_teacher(study)
    return _dot_plot(study, f"accuracy-{file_name(student)}", f"Accuracy of {student}", caption, rows)


def _dot_plot(study: StudyRuns, name: str, title: str, caption: str, rows: list[Row]) -> Drawing:
    lines = max(row.label.count("\n") + 1 for row in rows)
    figure = page(PAGE_IN * 0.8, 0.9 + (0.14 + 0.13 * lines) * len(rows))
    axes = figure.add_subplot()
    ends: list[float] = []
    for position, row in enumerate(rows):
        ends += _draw_row(axes, position, row)
    if study.teacher:
        ends.append(100 * study.teacher.accuracy)
        draw_teacher_line(axes, study)
    axes.set_xlim(*padded(ends))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("validation accuracy (%)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return Drawing(name, title, caption, figure)


def _draw_row(axes: Axes, position: int, row: Row) -> list[float]:
    """Draw mean, interval and runs; returns the values that must be in sight."""
    estimate = accuracy(row.repeats)
    mean, half = 100 * estimate.mean, 100 * half_width(estimate)
    runs = [100 * repeat.best.accuracy for repeat in row.repeats]
    axes.errorbar(
        mean,
        position,
        xerr=half or None,
        color=row.shape.colour,
        marker=row.shape.marker,
        capsize=2.5,
        elinewidth=1.0,
        label=row.label,
    )
    if len(runs) > 1:
        axes.plot(runs, [position + 0.24] * len(runs), "o", mfc="none", mec=GREY, ms=3, mew=0.7)
    return [mean - half, mean + half, *runs]


def draw_teacher_line(axes: Axes, study: StudyRuns) -> None:
    """The teacher's accuracy as a dashed vertical line with its name above it."""
    assert study.teacher is not None
    value = 100 * study.teacher.accuracy
    axes.axvline(value, color=VERMILLION, linestyle="--", linewidth=1.2, label="teacher")
    axes.annotate(
        f"teacher {study.teacher.card.model}, {value:.1f} %",
        (value, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=VERMILLION,
    )


def _of_teacher(study: StudyRuns) -> str:
    return "The dashed line is the teacher, a single run." if study.teacher else "There is no single teacher to draw."
