"""What checkpoints answer to their validation images: confusion matrix and reliability diagram."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray
from torch import Tensor

from distill.checkpoint import CARD_FILE, Card
from distill.evaluation.calibration import CALIBRATED, Reliability, halves, reliability
from distill.evaluation.evaluate import CALIBRATION_BINS, metrics
from distill.figures.gallery import Drawing, LeftOut, file_name
from distill.figures.predictions import Answers, predictions
from distill.figures.runs import Repeat, StudyRuns, best_technique
from distill.figures.style import BLACK, BLUE, COLUMN_IN, GREY, PAGE_IN, VERMILLION, page
from distill.study.comparison import Estimate, estimate

MOST_CLASSES = 40
"""More do not fit on a page."""

MOST_CLASSES_WITH_NUMBERS = 14


def draw_answers(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """Per student, for its best distilled technique: what is taken for what, and how sure it is."""
    chosen = [chosen_runs(study, student) for student in study.students]
    answers = predictions([run for runs in chosen for run in runs])
    for runs in chosen:
        of_seeds = [answers[run.folder] for run in runs]
        yield confusion(study, runs, of_seeds)
        yield reliability_diagram(study, runs, of_seeds)


def chosen_runs(study: StudyRuns, student: str) -> list[Repeat]:
    """The seeds of a student's best distilled technique; of its best one at all if none is distilled."""
    runs = [run for run in study.repeats if run.student == student]
    distilled = [run for run in runs if not run.supervised]
    technique = best_technique(distilled or runs)
    return [run for run in runs if run.technique == technique]


def confusion(study: StudyRuns, runs: Sequence[Repeat], answers: Sequence[Answers]) -> Drawing | LeftOut:
    """The confusion matrix of all seeds together, each row in percent of the images of its class."""
    name = f"confusion-{file_name(runs[0].student)}"
    classes = runs[0].card.class_names
    if len(classes) > MOST_CLASSES:
        return LeftOut(name, f"{len(classes)} classes do not fit on a page (at most {MOST_CLASSES})")
    counts = sum(confusion_counts(of_seed.logits, of_seed.labels) for of_seed in answers)
    assert isinstance(counts, np.ndarray)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.34 * len(classes) if len(classes) <= MOST_CLASSES_WITH_NUMBERS else PAGE_IN
    figure = page(min(PAGE_IN, side + 0.6), min(PAGE_IN, side))
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= MOST_CLASSES_WITH_NUMBERS:
        _write_numbers(axes, shares)
    figure.colorbar(picture, ax=axes, label="share of the true class (%)", shrink=0.8).outline.set_visible(False)
    title = f"Confusions of {runs[0].student}, {runs[0].technique}"
    figure.suptitle(title.replace(", ", "\n", 1), x=0.01, ha="left", fontsize=9, fontweight="bold")
    images = int(counts.sum()) // len(runs)
    caption = (
        f"{study.basis()} Best epoch, {_seeds(runs)}, {images:,} validation images each; rows "
        f"sum to 100 %, empty cells are exactly zero. {_how_chosen(runs)}"
    )
    return Drawing(name, title, caption, figure)


def confusion_counts(logits: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Images by true class (row) and predicted class (column), int64 [classes, classes]."""
    classes = logits.shape[1]
    pairs = labels.numpy() * classes + logits.argmax(dim=1).numpy()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


RIGHT = Patch(facecolor=BLUE, label="right answers")
GAP = Patch(facecolor="none", edgecolor=VERMILLION, hatch="/////", label="gap to confidence")


@dataclass(frozen=True)
class Panel:
    """One reliability diagram: the bins of all seeds together, the error per seed."""

    title: str
    bins: Reliability
    ece: Estimate


def reliability_diagram(study: StudyRuns, runs: Sequence[Repeat], answers: Sequence[Answers]) -> Drawing | LeftOut:
    """Accuracy by confidence; before and after temperature scaling where every seed has a calibrated checkpoint."""
    temperatures = [temperature(run) for run in runs]
    logits, labels = [of_seed.logits for of_seed in answers], [of_seed.labels for of_seed in answers]
    if all(temperatures):
        judge = [halves(of_seed.split)[1] for of_seed in answers]
        logits = [rows[chosen] for rows, chosen in zip(logits, judge, strict=True)]
        labels = [rows[chosen] for rows, chosen in zip(labels, judge, strict=True)]
        scaled = [rows / (divisor or 1.0) for rows, divisor in zip(logits, temperatures, strict=True)]
        panels = [panel("before", logits, labels), panel("after temperature scaling", scaled, labels)]
    else:
        panels = [panel("", logits, labels)]
    student = runs[0].student
    title = f"Reliability of {student}, {runs[0].technique}"
    figure = page(COLUMN_IN * len(panels), 4.3)
    grid = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for above, below, content in zip(grid[0], grid[1], panels, strict=True):
        _draw_bins(above, content)
        _draw_counts(below, content)
    figure.suptitle(title.replace(", ", "\n", 1), x=0.01, ha="left", fontsize=9, fontweight="bold")
    figure.legend(handles=[RIGHT, GAP], loc="outside lower center", ncols=2)
    how = (
        f"Best epoch, {_seeds(runs)}, {CALIBRATION_BINS} bins of the top probability. Bars are "
        "the share of right answers, hatched the gap to the mean confidence; below, the images per bin (logarithmic). "
        "ECE is the mean over seeds ± the half width of its 95 % t interval."
    )
    half = (
        " The temperature was fitted to one half of the validation images; both panels show the other half."
        if all(temperatures)
        else ""
    )
    caption = f"{study.basis()} {how}{half} {_how_chosen(runs)}"
    return Drawing(f"reliability-{file_name(student)}", title, caption, figure)


def panel(title: str, logits: Sequence[Tensor], labels: Sequence[Tensor]) -> Panel:
    """Bins over all seeds' images, ECE as a mean over seeds."""
    errors = [metrics(rows, truth, epoch=1).ece for rows, truth in zip(logits, labels, strict=True)]
    return Panel(title, reliability(torch.cat(list(logits)), torch.cat(list(labels))), estimate(errors))


def temperature(run: Repeat) -> float | None:
    """Of the run's calibrated checkpoint if there is one of these very weights."""
    path = run.folder / CALIBRATED / CARD_FILE
    if not path.is_file():
        return None
    card = Card.read(path)
    return card.temperature if card.weights_sha256 == run.card.weights_sha256 else None


def _draw_bins(axes: Axes, panel: Panel) -> None:
    width = 1 / CALIBRATION_BINS
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8)
    for index, (confidence, accuracy, count) in enumerate(
        zip(panel.bins.confidence, panel.bins.accuracy, panel.bins.count, strict=True)
    ):
        if count:
            centre = (index + 0.5) * width
            axes.bar(centre, accuracy, width=0.92 * width, color=BLUE)
            axes.bar(
                centre,
                confidence - accuracy,
                bottom=accuracy,
                width=0.92 * width,
                facecolor="none",
                edgecolor=GAP.get_edgecolor(),
                hatch=GAP.get_hatch(),
                linewidth=0.8,
            )
    spread = "" if panel.ece.half_width is None else f" ± {100 * panel.ece.half_width:.1f}"
    axes.set_title(f"{panel.title}{': ' if panel.title else ''}ECE {100 * panel.ece.mean:.1f}{spread} %")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of right answers")


def _draw_counts(axes: Axes, panel: Panel) -> None:
    width = 1 / CALIBRATION_BINS
    centres = [(index + 0.5) * width for index in range(CALIBRATION_BINS)]
    axes.bar(centres, panel.bins.count, width=0.92 * width, color=BLACK)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 2 * max(panel.bins.count))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("images")
    axes.set_xlabel("confidence")


def _write_numbers(axes: Axes, shares: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(shares > 0):
        share = shares[row, column]
        colour = "white" if share > 55 else "black"
        text = f"{share:.0f}" if share >= 0.5 else "<1"
        axes.text(column, row, text, ha="center", va="center", color=colour)


def _how_chosen(runs: Sequence[Repeat]) -> str:
    if runs[0].supervised:
        return "No distilled run of this student is finished."
    return "The distilled technique with the highest mean accuracy, chosen by the same images."


def _seeds(runs: Sequence[Repeat]) -> str:
    return "one seed" if len(runs) == 1 else f"{len(runs)} seeds together"
