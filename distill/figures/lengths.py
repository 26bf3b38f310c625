"""Accuracy against the length of the training (DistPro paper, figure 5), and the epochs saved (its table 2)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from distill.figures.gallery import Drawing, LeftOut
from distill.figures.runs import Repeat, StudyRuns, over_seeds
from distill.figures.style import BASELINE, PAGE_IN, half_width, look, page
from distill.study.comparison import estimate

NAME = "lengths"


def draw_lengths(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """One figure per student of which some technique was trained for several lengths."""
    drawn = [student for student in study.students if _series(study, student)]
    if not drawn:
        yield LeftOut(NAME, "no technique was trained for several lengths")
    for student in drawn:
        yield _one_student(study, student, alone=len(drawn) == 1)


def technique_of_any_length(run: Repeat) -> str:
    """A technique's name without the length that tells a study's cells apart."""
    return run.technique.removesuffix(f" after {run.config.training.epochs} epochs")


def epochs_needed(curve: Sequence[tuple[int, float]], wanted: float) -> float | None:
    """Epochs after which an accuracy is reached, linear between the lengths trained; None if after none of them.

    Args:
        curve: (epochs, accuracy), short trainings first. What the shortest reaches counts as its length.
        wanted: accuracy.
    """
    if curve[0][1] >= wanted:
        return float(curve[0][0])
    for (short, low), (long, high) in pairwise(curve):
        if high >= wanted:
            return short + (long - short) * (wanted - low) / (high - low)
    return None


def _series(study: StudyRuns, student: str) -> dict[str, list[Repeat]]:
    """The runs of each technique that has several lengths."""
    found: dict[str, list[Repeat]] = {}
    for run in study.repeats:
        if run.student == student:
            found.setdefault(technique_of_any_length(run), []).append(run)
    return {name: runs for name, runs in found.items() if len({run.config.training.epochs for run in runs}) > 1}


def _one_student(study: StudyRuns, student: str, *, alone: bool) -> Drawing:
    series = _series(study, student)
    figure = page(PAGE_IN * 0.6, 3.0)
    axes = figure.add_subplot()
    for index, (technique, runs) in enumerate(series.items()):
        shape = BASELINE if technique == study.baseline else look(index)
        lengths = sorted({run.config.training.epochs for run in runs})
        points = [over_seeds(_of_length(runs, length), _last_accuracy) for length in lengths]
        axes.errorbar(
            lengths,
            [100 * point.mean for point in points],
            yerr=[100 * half_width(point) for point in points],
            color=shape.colour,
            marker=shape.marker,
            linestyle=shape.line,
            capsize=2,
            label=technique,
        )
    axes.set_xlabel("epochs of the training")
    axes.set_ylabel("validation accuracy (%)")
    axes.grid(axis="y")
    axes.legend()
    caption = (
        f"{study.basis()} Last epoch; marks are means over seeds, bars their 95 % t interval. {_saved(study, series)}"
    )
    name = NAME if alone else f"{NAME}-{student.replace(':', '-')}"
    return Drawing(name, f"{student}: accuracy against the length of the training", caption, figure)


def _saved(study: StudyRuns, series: dict[str, list[Repeat]]) -> str:
    """Epochs that each technique needs for what the baseline has in the end, seed by seed."""
    runs_of_baseline = series.get(study.baseline, [])
    longest = max((run.config.training.epochs for run in runs_of_baseline), default=0)
    reference = {run.training.seed: run for run in _of_length(runs_of_baseline, longest)}
    sentences = []
    for technique, runs in series.items():
        if technique == study.baseline or not reference:
            continue
        needed = [
            epochs_needed(_curve(runs, seed), _last_accuracy(run))
            for seed, run in reference.items()
            if len(_curve(runs, seed)) > 1
        ]
        reached = [epochs for epochs in needed if epochs is not None]
        text = f"{technique} reaches in {len(reached)} of {len(needed)} seeds what {study.baseline} has in the end"
        if reached:
            mean = estimate(reached)
            interval = "" if mean.half_width is None else f" ± {mean.half_width:.1f}"
            text += f", there after {mean.mean:.1f}{interval} of {longest} epochs"
        sentences.append(f"{text}.")
    return " ".join(sentences)


def _of_length(runs: Sequence[Repeat], epochs: int) -> list[Repeat]:
    return [run for run in runs if run.config.training.epochs == epochs]


def _curve(runs: Sequence[Repeat], seed: int) -> list[tuple[int, float]]:
    return sorted((run.config.training.epochs, _last_accuracy(run)) for run in runs if run.training.seed == seed)


def _last_accuracy(run: Repeat) -> float:
    return run.last.accuracy
