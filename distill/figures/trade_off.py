"""Relative accuracy against what a student costs (echo-view paper, figures 7 and 8)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from distill.figures.cost import Cost, Costs, Network, parameters, speed_ups
from distill.figures.gallery import Drawing, LeftOut
from distill.figures.journal import Time
from distill.figures.runs import Repeat, StudyRuns, best_technique
from distill.figures.style import GREY, LIGHT, PAGE_IN, VERMILLION, Look, half_width, look, padded, page
from distill.study.comparison import Estimate, estimate

DODGE_IN = 0.05
"""Scratch and distilled run of a network cost the same; they stand so far left and right of the true place."""

LARGEST_DISC_PT2 = 1300.0


@dataclass(frozen=True)
class Point:
    """A student under a technique.

    Attributes:
        relative: accuracy in percent of the teacher's.
    """

    network: Network
    technique: str
    distilled: bool
    relative: Estimate
    cost: Cost


@dataclass(frozen=True)
class Plot:
    """Everything that one figure shows; `teacher` is None in the figure that looks at the distilled students alone."""

    study: StudyRuns
    points: list[Point]
    looks: dict[Network, Look]
    teacher: Cost | None

    @property
    def largest_bytes(self) -> int | None:
        """Of the biggest disc; None where nothing was measured."""
        shown = [point.cost for point in self.points] + ([self.teacher] if self.teacher else [])
        sizes = [cost.size_bytes for cost in shown if cost.size_bytes is not None]
        return max(sizes) if sizes else None


def draw_trade_off(study: StudyRuns, times: Sequence[Time]) -> Iterator[Drawing | LeftOut]:
    """Against speed-up if bench measured teacher and students under like conditions, else against parameters."""
    if study.teacher is None:
        yield LeftOut("speed-up", "the study has no single teacher of known accuracy to be relative to")
        return
    costs = speed_ups(study, times)
    if costs is None:
        reason = "no time of the teacher and of a student under like conditions"
        yield LeftOut("speed-up", f"{reason}; {advice(study)}")
        costs = parameters(study)
    assert costs is not None
    name = "speed-up" if costs.conditions else "parameters"
    points = best_points(study, costs)
    looks = {network: look(index) for index, network in enumerate(costs.students)}
    title = f"Relative accuracy and {name}"
    yield _figure(Plot(study, points, looks, costs.teacher), name, title, _caption(study, costs, points))
    distilled = [point for point in points if point.distilled]
    if distilled and len(distilled) < len(points):
        alone = Plot(study, distilled, looks, None)
        caption = _caption(study, costs, distilled)
        yield _figure(alone, f"{name}-distilled", f"{title}, distilled students alone", caption)


def best_points(study: StudyRuns, costs: Costs) -> list[Point]:
    """Per network with a cost: its best distilled technique, and training from scratch."""
    assert study.teacher is not None
    points: list[Point] = []
    for network, cost in costs.students.items():
        runs = [run for run in study.runs if run.network == network]
        for distilled in (False, True):
            of_kind = [run for run in runs if run.supervised != distilled]
            technique = best_technique(of_kind)
            if technique is not None:
                chosen = [run for run in of_kind if run.technique == technique]
                points.append(Point(network, technique, distilled, relative(chosen, study.teacher.accuracy), cost))
    return points


def relative(runs: Sequence[Repeat], teacher: float) -> Estimate:
    """Accuracy in percent of the teacher's, over seeds."""
    return estimate([100 * run.best.accuracy / teacher for run in runs])


def advice(study: StudyRuns) -> str:
    """How such times are made."""
    assert study.teacher is not None
    return (
        f"make them: python -m export {study.repeats[0].folder} --format eager --precision fp32 (so for one run of "
        f"each student, and for {study.teacher.folder}), then python -m bench out/artifacts --device cpu"
    )


def area_pt2(size_bytes: int, largest_bytes: int) -> float:
    """A disc's area: proportional to the bytes."""
    return LARGEST_DISC_PT2 * size_bytes / largest_bytes


def _figure(plot: Plot, name: str, title: str, caption: str) -> Drawing:
    figure = page(PAGE_IN, 3.8)
    axes = figure.add_subplot()
    both = len({point.distilled for point in plot.points}) > 1
    for point in plot.points:
        aside_in = DODGE_IN * (1 if point.distilled else -1) if both else 0.0
        _draw_point(axes, point, plot, aside_in)
    across = [end for point in plot.points for end in (point.cost.low, point.cost.high)]
    up = [point.relative.mean + sign * half_width(point.relative) for point in plot.points for sign in (-1, 1)]
    if plot.teacher:
        _draw_teacher(axes, plot, plot.teacher)
        across.append(plot.teacher.value)
        up.append(100.0)
    axes.set_xlim(*padded(across, share=0.12))
    axes.set_ylim(*padded(up, share=0.14))
    measured = plot.points[0].cost.size_bytes is not None
    axes.set_xlabel("inference speed-up over the teacher (×)" if measured else "parameters (millions)")
    axes.set_ylabel("accuracy relative to the teacher (%)")
    axes.grid()
    axes.set_title(title)
    _legend(axes, plot)
    return Drawing(name, title, caption, figure)


def _draw_point(axes: Axes, point: Point, plot: Plot, aside_in: float) -> None:
    place = axes.transData + ScaledTranslation(aside_in, 0, axes.figure.dpi_scale_trans)
    x, y, shape = point.cost.value, point.relative.mean, plot.looks[point.network]
    if point.cost.size_bytes is not None and plot.largest_bytes is not None:
        area = area_pt2(point.cost.size_bytes, plot.largest_bytes)
        axes.scatter([x], [y], s=area, color=shape.colour, alpha=0.18, linewidths=0, transform=place)
    axes.errorbar(
        x,
        y,
        yerr=half_width(point.relative) or None,
        xerr=[[x - point.cost.low], [point.cost.high - x]] if point.cost.high > point.cost.low else None,
        color=shape.colour,
        marker=shape.marker,
        markerfacecolor=shape.colour if point.distilled else "white",
        capsize=2.5,
        elinewidth=1.0,
        transform=place,
        label=f"{_named(plot.study, point.network)}, {point.technique}",
    )


def _draw_teacher(axes: Axes, plot: Plot, cost: Cost) -> None:
    axes.axhline(100, color=VERMILLION, linestyle="--", linewidth=1.0)
    if cost.size_bytes is not None and plot.largest_bytes is not None:
        area = area_pt2(cost.size_bytes, plot.largest_bytes)
        axes.scatter([cost.value], [100], s=area, color=VERMILLION, alpha=0.18, linewidths=0)
    axes.plot([cost.value], [100], "*", color=VERMILLION, markersize=9, label="teacher")


def _legend(axes: Axes, plot: Plot) -> None:
    handles: list[Line2D] = []
    if plot.teacher and plot.study.teacher:
        name = f"teacher {plot.study.teacher.card.model}"
        handles.append(_key(f"{name}\n{_in_words(plot.teacher)}", "*", VERMILLION, size_pt=9))
    for network in dict.fromkeys(point.network for point in plot.points):
        cost = next(point.cost for point in plot.points if point.network == network)
        shape = plot.looks[network]
        handles.append(_key(f"{_named(plot.study, network)}\n{_in_words(cost)}", shape.marker, shape.colour))
    if len({point.distilled for point in plot.points}) > 1:
        handles += [_key("distilled", "o", GREY), _key("from scratch", "o", GREY, fill="white")]
    if plot.largest_bytes is not None:
        megabytes = round_megabytes(plot.largest_bytes / 8e6)
        size_pt = area_pt2(int(megabytes * 1e6), plot.largest_bytes) ** 0.5
        handles.append(_key(f"area of {megabytes:g} MB", "o", LIGHT, size_pt=size_pt))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, labelspacing=0.8)


def round_megabytes(limit: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, … (and 0.5, 0.2, …) that is not above `limit` > 0."""
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit * (1 + 1e-9))


def _key(label: str, marker: str, colour: str, *, fill: str | None = None, size_pt: float = 5) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        color=colour,
        marker=marker,
        markerfacecolor=fill or colour,
        markersize=size_pt,
        label=label,
    )


def _in_words(cost: Cost) -> str:
    if cost.size_bytes is None:
        return f"{cost.value:.2f} M parameters"
    labels = f" ({', '.join(cost.labels)})" if cost.labels else ""
    return f"{cost.value:.2f} ×, {cost.size_bytes / 1e6:.2f} MB{labels}"


def _named(study: StudyRuns, network: Network) -> str:
    return f"{network[0]}, {network[1]} px" if len(study.sizes_px) > 1 else network[0]


def _caption(study: StudyRuns, costs: Costs, points: list[Point]) -> str:
    chosen = "; ".join(f"{_named(study, point.network)}: {point.technique}" for point in points if point.distilled)
    accuracies = (
        "Accuracy of the best epoch on the validation images, in percent of the teacher's, which is a single run and "
        "taken as exact. Marks are means over seeds, vertical bars their 95 % t interval. Distilled is the technique "
        f"with the highest mean ({chosen or 'none finished'}), chosen by the same validation images, which flatters it."
    )
    if len({point.distilled for point in points}) > 1:
        accuracies += " Both cost the same, so their marks stand a little left and right of the true place."
    if costs.conditions is None:
        return f"{study.basis()} {accuracies} There are no times: the x axis is the number of parameters."
    missing = dict.fromkeys(run.network for run in study.repeats if run.network not in costs.students)
    checkpoints = "checkpoint" if costs.checkpoints == 1 else "checkpoints"
    return (
        f"{study.basis()} {accuracies} Times: {costs.conditions}; the teacher's divided by the student's, of "
        f"{costs.checkpoints} measured student {checkpoints}. Techniques change a network's weights and not its graph, "
        "so they share its time. Horizontal bars are 95 % intervals over launches, of the ratio turn by turn where "
        "both were measured in turn, and span several checkpoints of one network; labels such as noisy stand beside. "
        "Disc area is proportional to the bytes of the exported model."
        + (f" Not measured: {', '.join(_named(study, network) for network in missing)}." if missing else "")
    )
