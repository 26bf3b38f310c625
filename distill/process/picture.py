"""The picture of a process: the weights of all pathways over the search, one panel for each level of the teacher."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from distill.figures.gallery import Drawing
from distill.figures.style import BLACK, COLOURS, LINES, PAGE_IN, house_style, page
from distill.process.pathways import Pathway
from distill.process.record import Process
from distill.process.schedule import weights_above

NO_THRESHOLD = float("-inf")
PANEL_IN = 2.6


def draw(process: Process, name: str) -> Drawing:
    """As Fig. 6 of the paper: colours are levels of the student, lines are transforms; a thick line is the mean."""
    weights = [list(weights_above(row, NO_THRESHOLD, process.normalisation).values()) for row in process.raw]
    levels = [list(ways) for _, ways in groupby(enumerate(process.pathways), key=lambda way: way[1].teacher)]
    with house_style():
        figure = page(PAGE_IN, PANEL_IN)
        panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
        for axes, ways in zip(panels, levels, strict=True):
            _draw_level(axes, process, ways, weights)
        panels[0].set_ylabel("weight of a pathway")
        figure.legend(handles=_legend(process), loc="outside lower center", ncols=4)
    caption = (
        f"Weights of {len(process.pathways)} pathways over {len(process.raw)} epochs of a search, {process.pair}; "
        f"normalised by {process.normalisation}. One panel for each level of the teacher, the shallowest first."
    )
    return Drawing(name, f"Distillation process of {process.pair}", caption, figure)


def _draw_level(axes: Axes, process: Process, ways: list[tuple[int, Pathway]], weights: list[list[float]]) -> None:
    epochs = range(1, len(weights) + 1)
    for number, way in ways:
        colour, line = COLOURS[(way.student - 1) % len(COLOURS)], _line(process, way)
        axes.plot(epochs, [row[number] for row in weights], color=colour, linestyle=line)
    mean = [sum(row[number] for number, _ in ways) / len(ways) for row in weights]
    axes.plot(epochs, mean, color=BLACK, linewidth=2.4)
    axes.set_title(f"level {ways[0][1].teacher} of the teacher")
    axes.set_xlabel("epoch of the search")


def _legend(process: Process) -> list[Line2D]:
    levels = sorted({way.student for way in process.pathways})
    handles = [Line2D([], [], color=COLOURS[(n - 1) % len(COLOURS)], label=f"to level {n}") for n in levels]
    named = {way.transform: way for way in process.pathways}
    handles += [
        Line2D([], [], color=BLACK, linestyle=_line(process, way), label=name.replace("_", " "))
        for name, way in named.items()
    ]
    return [*handles, Line2D([], [], color=BLACK, linewidth=2.4, label="mean of the level")]


def _line(process: Process, way: Pathway) -> LineStyleType:
    return LINES[process.grid.transforms.index(way.transform) % len(LINES)]
