"""The charts of a run's page: SVG whose colours are the page's, so that they are light or dark with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distill.evaluation.calibration import Reliability
from distill.vision.tasks import TaskName

INK, MUTED, GRID, SURFACE, ACCENT = ("#000001", "#000002", "#000003", "#000004", "#000005")
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015")
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    SURFACE: "surface",
    ACCENT: "accent",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
"""Colours to draw with, each in place of a variable of the page's style sheet."""

LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)), (0, (8, 2)))
WIDTH_IN, HEIGHT_IN = 4.4, 2.75

SETTINGS: dict[Any, Any] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "pocket-distill",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


@dataclass(frozen=True)
class Chart:
    """One chart: its title, what a reader should see in it, and the picture as text."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Curve:
    """One figure of `metrics.jsonl` over epochs, multiplied by `scale`."""

    title: str
    field: str
    scale: float = 100
    unit: str = "%"


CURVES: dict[TaskName, tuple[Curve, ...]] = {
    "classification": (Curve("accuracy", "accuracy"), Curve("macro F1", "macro_f1")),
    "segmentation": (Curve("mIoU", "miou"), Curve("Dice", "dice"), Curve("pixel accuracy", "pixel_accuracy")),
    "depth": (Curve("RMSE", "rmse_m", 1, "m"), Curve("mean error", "loss", 1, "m")),
}
"""What is drawn of the quality, the task's measure first."""


def learning_curves(rows: Sequence[dict[str, Any]], best_epoch: int) -> list[Chart]:
    """Losses, what the network is judged by, and the learning rate, over epochs.

    Args:
        rows: of `metrics.jsonl`.
        best_epoch: 1-based.
    """
    epochs = [row["epoch"] for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row.get("losses", {})))
    losses = {name: [row["losses"].get(name, math.nan) for row in rows] for name in names}
    losses["validation (mean error)" if "rmse_m" in rows[0] else "validation (cross-entropy)"] = [
        row["loss"] for row in rows
    ]
    shown = next(curves for curves in CURVES.values() if curves[0].field in rows[0])
    quality = {curve.title: [curve.scale * row[curve.field] for row in rows] for curve in shown}
    if all("quantized_accuracy" in row for row in rows):
        quality["accuracy as int8"] = [100 * row["quantized_accuracy"] for row in rows]
    first, unit = shown[0], shown[0].unit
    last, best = (first.scale * row[first.field] for row in (rows[-1], rows[epochs.index(best_epoch)]))
    charts = [
        Chart("Loss", "Means over each epoch's batches, and over the validation images after it.", ""),
        Chart(
            f"Quality on the validation images ({unit})",
            f"Best: {best:.2f} {unit} after epoch {best_epoch} (filled mark). "
            f"Last: {last:.2f} {unit} after epoch {epochs[-1]} (open mark).",
            "",
        ),
    ]
    drawn = [_over_epochs(epochs, losses, best_epoch), _over_epochs(epochs, quality, best_epoch)]
    if all("learning_rate" in row for row in rows):
        rates = {"learning rate": [row["learning_rate"] for row in rows]}
        charts.append(Chart("Learning rate", "At the last step of each epoch.", ""))
        drawn.append(_over_epochs(epochs, rates, best_epoch))
    return [Chart(chart.title, chart.caption, svg) for chart, svg in zip(charts, drawn, strict=True)]


def reliability_diagram(reliability: Reliability, ece: float) -> Chart:
    """How often answers of a certain confidence are right, and how many there are of each.

    Args:
        reliability: per bin of the confidence.
        ece: expected calibration error, in [0, 1].
    """
    bins = len(reliability.count)
    lefts = [100 * number / bins for number in range(bins)]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, 1.35 * HEIGHT_IN), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=LINES[1], label="as sure as it should be")
        filled = [number for number, count in enumerate(reliability.count) if count]
        upper.bar(
            [lefts[number] for number in filled],
            [100 * reliability.accuracy[number] for number in filled],
            width=100 / bins,
            align="edge",
            color=ACCENT,
            edgecolor=SURFACE,
            linewidth=1,
        )
        upper.set(ylabel="right (%)", xlim=(0, 100), ylim=(0, 100))
        upper.legend(loc="upper left")
        total = sum(reliability.count)
        shares = [100 * count / total for count in reliability.count]
        lower.bar(lefts, shares, width=100 / bins, align="edge", color=MUTED, edgecolor=SURFACE, linewidth=1)
        lower.set(xlabel="confidence (%)", ylabel="images (%)")
        for axes in (upper, lower):
            axes.grid(axis="y")
        svg = _svg(figure)
    caption = (
        f"Expected calibration error {ece:.3f}: mean distance between the bars and the line, weighed by images. Bars "
        "below the line: surer than right."
    )
    return Chart("How sure, how right", caption, svg)


def _over_epochs(epochs: Sequence[int], series: dict[str, list[float]], best_epoch: int) -> str:
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes: Axes = figure.subplots()
        axes.axvline(best_epoch, color=MUTED, linewidth=0.8, linestyle=LINES[2])
        for number, (name, values) in enumerate(series.items()):
            colour, line = SERIES[number % len(SERIES)], LINES[number % len(LINES)]
            axes.plot(epochs, values, color=colour, linestyle=line, label=name)
            axes.plot(epochs[-1], values[-1], marker="o", color=colour, markerfacecolor=SURFACE, markersize=5)
            axes.plot(best_epoch, values[epochs.index(best_epoch)], marker="o", color=colour, markersize=5)
        axes.grid(axis="y")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=2)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure as an element of a page."""
    text = StringIO()
    nothing: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(text, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
