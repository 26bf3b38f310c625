"""The picture of a search: how alike blocks are, their clusters, and the hints beside the conventional ones."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from distill.figures.gallery import Drawing
from distill.figures.style import BLACK, PAGE_IN, VERMILLION, house_style, look, page
from distill.hints.record import Hints, listed

METRICS = {"cka": "linear CKA", "cca": "mean squared CCA", "gcd": "Yanai's GCD", "cka-rbf": "CKA of Gaussian kernels"}
MOST_TICKS = 20
SHADES = LinearSegmentedColormap.from_list("print", ["#FFFFFF", "#444444"])
STRIP = 0.05
"""Width of the strip of clusters, as a share of the matrix."""


def draw(hints: Hints, name: str) -> Drawing:
    """The matrix in grey, so that it prints; clusters are outlined and numbered, hints and stage ends marked on it."""
    with house_style():
        figure = page(PAGE_IN * 0.72, PAGE_IN * 0.65)
        axes = figure.add_subplot()
        count = len(hints.blocks)
        matrix = np.array(hints.similarity)
        lowest = min(np.floor(20 * matrix.min()) / 20, 0.95)  # of a deep network all may be near 1
        edges = (0.5, count + 0.5, count + 0.5, 0.5)
        shades = axes.imshow(matrix, cmap=SHADES, vmin=lowest, vmax=1, extent=edges)
        for number in range(len(hints.clusters)):
            _draw_cluster(axes, hints, number)
        _draw_points(axes, hints)
        side = count * STRIP
        axes.set_xlim(0.5 - side, count + 0.5)
        axes.set_ylim(count + 0.5, 0.5 - side)
        step = -(-count // MOST_TICKS)
        ticks = range(step, count + 1, step)
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
        axes.set_xlabel(f"block of the {hints.network}")
        axes.set_ylabel("block")
        axes.set_title(f"{METRICS[hints.metric]}, {hints.activation}-activation")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
        figure.colorbar(shades, ax=axes, shrink=0.7, label=METRICS[hints.metric])
    return Drawing(name, f"Hint points of {hints.teacher}", caption(hints), figure)


def caption(hints: Hints) -> str:
    """What the picture shows."""
    return (
        f"Similarity of the blocks of {hints.teacher} over {hints.data.num_images:,} training images. Boxes are the "
        f"clusters, a diamond is the hint of each; squares are the conventional hints, where stages end."
    )


def _draw_cluster(axes: Axes, hints: Hints, number: int) -> None:
    """A box around every stretch of a cluster, and its number in the strips beside the matrix."""
    shape = look(number)
    frame = {"edgecolor": shape.colour, "linestyle": shape.line, "linewidth": 1.6, "clip_on": False}
    blocks = hints.clusters[number].blocks
    breaks = [at for at, (block, following) in enumerate(pairwise(blocks), start=1) if following != block + 1]
    side = len(hints.blocks) * STRIP
    for start, end in pairwise([0, *breaks, len(blocks)]):
        first, size = blocks[start] - 0.5, end - start
        axes.add_patch(Rectangle((first, first), size, size, facecolor="none", **frame))
        for left, top, width, height in ((first, 0.5 - side, size, side), (0.5 - side, first, side, size)):
            axes.add_patch(Rectangle((left, top), width, height, facecolor="white", **frame))
            axes.text(left + width / 2, top + height / 2, str(number + 1), ha="center", va="center", weight="bold")


def _draw_points(axes: Axes, hints: Hints) -> None:
    """Hints and stage ends on the diagonal, each with a white rim, for the diagonal is black."""
    style: dict[str, Any] = {"linestyle": "none", "zorder": 3, "clip_on": False}
    style["path_effects"] = [withStroke(linewidth=3, foreground="white")]
    if hints.stage_ends:
        label = f"stage ends: {listed(hints.stage_ends)}"
        axes.plot(hints.stage_ends, hints.stage_ends, "s", color=BLACK, fillstyle="none", label=label, ms=9, **style)
    axes.plot(hints.hints, hints.hints, "D", color=VERMILLION, label=f"hints: {listed(hints.hints)}", **style)
