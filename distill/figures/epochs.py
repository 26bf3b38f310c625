"""What happened while the runs were going on: validation accuracy, learned temperature and lambda over epochs."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from distill.figures.gallery import Drawing, LeftOut
from distill.figures.runs import Repeat, StudyRuns
from distill.figures.style import BASELINE, BLUE, GREY, PAGE_IN, Look, half_width, look, page
from distill.study.comparison import Estimate, estimate

PANELS_A_ROW = 3
BEST = Look(BLUE, "o", "-")


def draw_training_curves(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """Validation accuracy per epoch, a panel per student: baseline and best technique with bands, the rest in grey."""
    students = study.students
    figure, panels = _panels(len(students))
    for axes in panels[1:]:
        axes.sharey(panels[0])
    for axes, student in zip(panels, students, strict=True):
        best = study.best_distilled(student)
        for technique in study.techniques(student):
            if technique not in (study.baseline, best):
                _mean_line(axes, study.of(student, technique), "other techniques")
        for technique, shape in ((study.baseline, BASELINE), (best, BEST)):
            repeats = study.of(student, technique) if technique else []
            if repeats:
                _curve(axes, repeats, lambda row: 100 * row["accuracy"], shape, technique or "", band=True)
        axes.set_title(student)
        _legend(axes)
    panels[0].set_ylim(*_limits(panels[0]))
    panels[0].set_ylabel("validation accuracy (%)")
    caption = (
        f"{study.basis()} Validation accuracy after each epoch: means over seeds; bands are 95 % t intervals of the "
        f"mean, drawn for {study.baseline} and for the technique with the highest mean best-epoch accuracy. A curve "
        "ends where its first seed stopped."
    )
    yield Drawing("training-curves", "Validation accuracy over epochs", caption, figure)


def draw_curriculum(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """The learned temperature, a panel per student, and the curriculum's lambda."""
    runs = [
        repeat for repeat in study.repeats if repeat.epochs and {"temperature", "lambda"} <= repeat.epochs[0].keys()
    ]
    if not runs:
        yield LeftOut("curriculum", "no finished run learns its temperature (method curriculum_temperature)")
        return
    students = list(dict.fromkeys(run.student for run in runs))
    techniques = list(dict.fromkeys(run.technique for run in runs))
    figure, panels = _panels(len(students) + 1)
    for axes in panels[1:-1]:
        axes.sharey(panels[0])
    for axes, student in zip(panels, students, strict=False):
        for index, technique in enumerate(techniques):
            repeats = [run for run in runs if (run.student, run.technique) == (student, technique)]
            if repeats:
                _curve(axes, repeats, lambda row: row["temperature"], look(index), technique, band=True)
        axes.set_title(student)
        axes.set_ylabel("learned temperature T")
    for index, technique in enumerate(techniques):
        repeats = [run for run in runs if run.technique == technique]
        _curve(panels[-1], repeats, lambda row: row["lambda"], look(index), technique, band=False)
    panels[-1].set_title("curriculum")
    panels[-1].set_ylabel("λ")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(techniques)))
    caption = (
        f"{study.basis()} Temperature at the end of each epoch, mean over seeds with the 95 % t interval as a "
        "band. λ scales the adversary's step and follows from the schedule alone. The marks tell the "
        "schedules apart."
    )
    yield Drawing("curriculum", "Learned temperature and λ over epochs", caption, figure)


def per_epoch(repeats: list[Repeat], value: Callable[[dict[str, Any]], float]) -> list[Estimate]:
    """A quantity's mean over seeds after each epoch that all of them reached."""
    reached = min(len(repeat.epochs) for repeat in repeats)
    return [estimate([value(repeat.epochs[epoch]) for repeat in repeats]) for epoch in range(reached)]


def _panels(count: int) -> tuple[Any, list[Axes]]:
    columns = 2 if count == 4 else min(count, PANELS_A_ROW)
    rows = math.ceil(count / columns)
    figure = page(PAGE_IN if count > 1 else 0.65 * PAGE_IN, 2.9 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.remove()
    for axes in panels[:count]:
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, panels[:count]


def _curve(
    axes: Axes,
    repeats: list[Repeat],
    value: Callable[[dict[str, Any]], float],
    shape: Look,
    label: str,
    *,
    band: bool,
) -> None:
    estimates = per_epoch(repeats, value)
    epochs = np.arange(1, len(estimates) + 1)
    means: NDArray[np.float64] = np.array([of_epoch.mean for of_epoch in estimates])
    every = max(1, len(estimates) // 8)
    axes.plot(
        epochs, means, color=shape.colour, linestyle=shape.line, marker=shape.marker, markevery=every, label=label
    )
    if band and len(repeats) > 1:
        halves = np.array([half_width(of_epoch) for of_epoch in estimates])
        axes.fill_between(epochs, means - halves, means + halves, color=shape.colour, alpha=0.18, linewidth=0)


def _mean_line(axes: Axes, repeats: list[Repeat], label: str) -> None:
    means = [100 * of_epoch.mean for of_epoch in per_epoch(repeats, lambda row: row["accuracy"])]
    axes.plot(range(1, len(means) + 1), means, color=GREY, linewidth=0.6, label=label, zorder=1)


def _limits(axes: Axes) -> tuple[float, float]:
    """Accuracies end at 0 and 100 %, a t interval of few seeds does not."""
    low, high = axes.get_ylim()
    return max(low, 0.0), min(high, 100.0)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), loc="lower right")
