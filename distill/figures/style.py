"""One look for all figures: print size, Okabe-Ito colours, and a marker and a line style beside every colour."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from distill.study.comparison import Estimate

PAGE_IN = 7.0
"""Full width of a printed page."""

COLUMN_IN = 3.5
"""Width of one of two columns."""

TEXT_PT = 8.0

BLACK, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)
"""Okabe and Ito's colours without yellow, which does not show on white."""

GREY = "#767676"
LIGHT = "#DDDDDD"

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
"""Of series. Black is the baseline's, vermillion the teacher's."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (4, 2)))


@dataclass(frozen=True)
class Look:
    """How one series is told from the others, in colour and without."""

    colour: str
    marker: str
    line: Any


def look(index: int) -> Look:
    """The index-th of 35 distinct looks."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])


BASELINE = Look(BLACK, "s", "-")
"""Training without a teacher looks the same in every figure."""


@contextmanager
def house_style() -> Generator[None]:
    """Matplotlib's settings for these figures while the block runs; the caller's come back afterwards."""
    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": TEXT_PT,
        "axes.titlesize": TEXT_PT + 1,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": TEXT_PT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.grid": False,
        "grid.color": LIGHT,
        "grid.linewidth": 0.5,
        "xtick.labelsize": TEXT_PT,
        "ytick.labelsize": TEXT_PT,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.fontsize": TEXT_PT,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 5,
        "hatch.linewidth": 0.6,
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.constrained_layout.w_pad": 0.06,
        "figure.constrained_layout.h_pad": 0.06,
        "svg.fonttype": "none",
        "svg.hashsalt": "pocket-distill",
    }
    with matplotlib.rc_context(settings):
        yield


def page(width_in: float, height_in: float) -> Figure:
    """An empty figure of a printed size, laid out so that nothing overlaps or is cut off."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def half_width(estimate: Estimate) -> float:
    """Of the interval; 0 for a single run, which has none."""
    return estimate.half_width or 0.0


def padded(values: Sequence[float], *, share: float = 0.06) -> tuple[float, float]:
    """Limits of an axis that shows all values with some air around them."""
    low, high = min(values), max(values)
    air = share * ((high - low) or max(abs(high), 1.0))
    return low - air, high + air
