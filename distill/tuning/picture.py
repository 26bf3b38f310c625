"""The picture of a search: the score of every trial, in their order and against each setting."""

from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes

from distill.figures.gallery import Drawing
from distill.figures.style import BLUE, GREY, PAGE_IN, VERMILLION, house_style, page
from distill.tuning.record import Search
from distill.tuning.search import best_trial
from distill.tuning.table import measure
from distill.tuning.trials import Trial
from distill.tuning.varied import Choice, Varied, in_words

NAME = "search"
PANELS_ABREAST = 3
PANEL_HEIGHT_IN = 2.1


def draw(search: Search, trials: Sequence[Trial]) -> Drawing:
    """One panel of all trials in their order, and one for every setting."""
    with house_style():
        panels = 1 + len(search.varied)
        rows = -(-panels // PANELS_ABREAST)
        abreast = min(panels, PANELS_ABREAST)
        figure = page(PAGE_IN, 0.6 + PANEL_HEIGHT_IN * rows)
        grid = figure.subplots(rows, abreast, sharey=True, squeeze=False)
        numbers = [float(trial.number) for trial in trials]
        axes = grid.flat[0]
        _draw_trials(axes, trials, numbers)
        _draw_best_so_far(axes, trials)
        axes.set_xlabel("trial")
        for axes, varied in zip(grid.flat[1:], search.varied, strict=False):
            _draw_setting(axes, trials, varied)
        for axes in grid.flat[panels:]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(f"{measure(search)} (%)")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return Drawing(NAME, f"Search of {search.config.name}", caption(search, trials), figure)


def caption(search: Search, trials: Sequence[Trial]) -> str:
    """What the picture shows."""
    epochs = search.epochs or search.config.training.epochs
    return (
        f"{len(trials)} trials of {epochs} epochs at most, judged by the best epoch on {search.data.num_validation:,} "
        "training images held back. Open marks were ended early: below the median of earlier trials, or no longer "
        "finite."
    )


def _draw_setting(axes: Axes, trials: Sequence[Trial], varied: Varied) -> None:
    axes.set_xlabel(varied.path)
    if isinstance(varied.values, Choice):
        places = {value: float(place) for place, value in enumerate(varied.values.values)}
        _draw_trials(axes, trials, [places[str(trial.values[varied.path])] for trial in trials])
        axes.set_xticks(list(places.values()), [in_words(value) for value in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
        return
    _draw_trials(axes, trials, [float(trial.values[varied.path]) for trial in trials])
    if varied.values.kind == "log":
        axes.set_xscale("log")


def _draw_trials(axes: Axes, trials: Sequence[Trial], across: Sequence[float]) -> None:
    best = best_trial(trials)
    points = [(x, 100 * t.score, t) for x, t in zip(across, trials, strict=True) if t.score is not None]
    early = [(x, y) for x, y, trial in points if trial.ended != "complete"]
    complete = [(x, y) for x, y, trial in points if trial.ended == "complete"]
    for group, fill, label in ((complete, BLUE, "run to its end"), (early, "white", "ended early")):
        if group:
            axes.plot(*zip(*group, strict=True), "o", mec=BLUE, mfc=fill, ms=4, label=label)
    for x, y, trial in points:
        if trial is best:
            axes.plot([x], [y], "D", color=VERMILLION, ms=6, label=f"best: trial {trial.number}")
    axes.grid(axis="y")


def _draw_best_so_far(axes: Axes, trials: Sequence[Trial]) -> None:
    complete = [trial for trial in trials if trial.ended == "complete"]
    best = accumulate((100 * (trial.score or 0.0) for trial in complete), max)
    axes.step([t.number for t in complete], list(best), where="post", color=GREY, linewidth=1, label="best so far")
