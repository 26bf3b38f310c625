"""Accuracy, training time, ECE and entropy against image size (cross-quality paper, figure 2)."""

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from distill.figures.gallery import Drawing, LeftOut
from distill.figures.runs import Repeat, StudyRuns, over_seeds
from distill.figures.style import BASELINE, PAGE_IN, VERMILLION, Look, half_width, look, page

DODGE = 1.02
"""Techniques of one size are set apart sideways by this factor, or their intervals would hide each other."""

Panel = tuple[str, Callable[[Repeat], float]]
PANELS: tuple[Panel, ...] = (
    ("validation accuracy (%)", lambda run: 100 * run.best.accuracy),
    ("minimum epoch time (s)", lambda run: minimum_epoch_s(run)),
    ("expected calibration error (%)", lambda run: 100 * run.best.ece),
    ("entropy of predictions (nats)", lambda run: run.best.entropy_nats),
)


def draw_image_size(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """One figure of four panels per student."""
    if len(study.sizes_px) < 2:
        yield LeftOut("image-size", f"every run of the study sees {study.sizes_px[0]} px")
        return
    for student in study.students:
        yield _one_student(study, student)


def minimum_epoch_s(run: Repeat) -> float:
    """Seconds of the fastest pass over the training images, without validation."""
    return min(float(row["seconds"]) for row in run.epochs)


def technique_of_any_size(run: Repeat) -> str:
    """A technique's name without the image size that tells a study's cells apart."""
    return run.technique.removesuffix(f" at {run.size_px} px")


def _one_student(study: StudyRuns, student: str) -> Drawing:
    runs = [repeat for repeat in study.repeats if repeat.student == student]
    techniques = list(dict.fromkeys(technique_of_any_size(run) for run in runs))
    figure = page(PAGE_IN, 5.2)
    grid = figure.subplots(2, 2, sharex=True)
    for letter, axes, panel in zip("abcd", grid.flat, PANELS, strict=True):
        for index, technique in enumerate(techniques):
            of_technique = [run for run in runs if technique_of_any_size(run) == technique]
            shape = BASELINE if of_technique[0].supervised else look(index)
            _draw_series(axes, panel, technique, of_technique, shape, index - (len(techniques) - 1) / 2)
        axes.set_title(f"{letter}  {panel[0]}")
        _size_axis(axes, study.sizes_px)
    if study.teacher:
        value = 100 * study.teacher.accuracy
        grid[0, 0].axhline(value, color=VERMILLION, linestyle="--", linewidth=1.0, label="teacher")
    for axes in grid[1]:
        axes.set_xlabel("image size of the student (px)")
    grid[0, 1].set_ylim(bottom=0)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    name = "image-size" if len(study.students) == 1 else f"image-size-{student.replace(':', '-')}"
    return Drawing(name, f"{student}: accuracy, time and calibration against image size", _caption(study), figure)


def _draw_series(axes: Axes, panel: Panel, technique: str, runs: list[Repeat], shape: Look, steps_aside: float) -> None:
    sizes = sorted({run.size_px for run in runs})
    estimates = [over_seeds([run for run in runs if run.size_px == size], panel[1]) for size in sizes]
    several = any(of_size.half_width is not None for of_size in estimates)
    axes.errorbar(
        [size * DODGE**steps_aside for size in sizes],
        [of_size.mean for of_size in estimates],
        yerr=[half_width(of_size) for of_size in estimates] if several else None,
        color=shape.colour,
        marker=shape.marker,
        linestyle=shape.line,
        capsize=2,
        elinewidth=0.8,
        label=technique,
    )


def _size_axis(axes: Axes, sizes_px: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes_px, [str(size) for size in sizes_px])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(sizes_px[0] * 0.92, sizes_px[-1] * 1.09)
    axes.grid(axis="y")


def _caption(study: StudyRuns) -> str:
    jobs = (
        "Panel b: the fastest pass over the training images, validation not counted, in seconds of the machine that "
        "trained it; the runs do not record which one, and cells that ran side by side shared it."
    )
    teacher = " The dashed line is the teacher, a single run at its own size." if study.teacher else ""
    return (
        f"{study.basis()} Marks are means over seeds, bars their 95 % t interval; techniques of one size stand a "
        f"little apart so that no bar hides another. Best epoch by validation accuracy.{teacher} {jobs}"
    )
