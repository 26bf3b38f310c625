"""Each system at its conventional places and at searched hints (PURSUhInT, figure 3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from matplotlib.axes import Axes

from distill.figures.gallery import Drawing, LeftOut
from distill.figures.runs import Repeat, StudyRuns, accuracy
from distill.figures.style import BLACK, BLUE, GREY, LIGHT, PAGE_IN, half_width, padded, page

WIDTH = 0.38
"""Of a bar; two stand side by side in a place of width 1."""


@dataclass(frozen=True)
class HintPair:
    """A system at two places.

    Attributes:
        system: what both techniques have in common, e.g. `AT + KD`.
    """

    student: str
    system: str
    conventional: list[Repeat]
    searched: list[Repeat]


def hint_pairs(study: StudyRuns) -> list[HintPair]:
    """Systems of whose places two were compared, the second of them searched."""
    found: list[HintPair] = []
    for (student, baseline), names in challengers(study).items():
        searched = study.of(student, names[0])
        conventional = study.of(student, baseline)
        if len(names) == 1 and searched[0].config.hints is not None and conventional:
            found.append(HintPair(student, _in_common(baseline, names[0]), conventional, searched))
    return found


def _in_common(one: str, other: str) -> str:
    """What two techniques begin with, up to a comma."""
    both = takewhile(lambda parts: parts[0] == parts[1], zip(one.split(", "), other.split(", "), strict=False))
    return ", ".join(part for part, _ in both) or one


def challengers(study: StudyRuns) -> dict[tuple[str, str], list[str]]:
    """(Student, technique) -> the techniques that name it as their baseline; the study's own baseline left aside."""
    found: dict[tuple[str, str], list[str]] = {}
    for repeat in study.repeats:
        if repeat.baseline not in (None, study.baseline, repeat.technique):
            names = found.setdefault((repeat.student, str(repeat.baseline)), [])
            names += [] if repeat.technique in names else [repeat.technique]
    return found


def draw_hints(study: StudyRuns) -> Iterator[Drawing | LeftOut]:
    """Bars with intervals, a panel for each student."""
    pairs = hint_pairs(study)
    if not pairs:
        yield LeftOut("hints", "no finished run reads its teacher at searched hints beside one at conventional places")
        return
    students = list(dict.fromkeys(pair.student for pair in pairs))
    figure = page(PAGE_IN, 0.6 + 2.0 * len(students))
    panels = figure.subplots(len(students), 1, squeeze=False)[:, 0]
    for axes, student in zip(panels, students, strict=True):
        _draw_panel(axes, study, student, [pair for pair in pairs if pair.student == student])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    caption = (
        f"{study.basis()} Accuracy of the best epoch on the validation images: means over seeds with the 95 % t "
        "interval of the mean, and the single runs as dots. The axis does not begin at 0. Intervals of two bars that "
        "overlap do not say that the bars are equal: the paired tests are in the study's table."
    )
    yield Drawing("hints", "Conventional places and searched hints", caption, figure)


def _draw_panel(axes: Axes, study: StudyRuns, student: str, pairs: list[HintPair]) -> None:
    ends: list[float] = []
    looks = ((-WIDTH / 2, LIGHT, "", "conventional places"), (WIDTH / 2, BLUE, "///", "searched hints"))
    for position, pair in enumerate(pairs):
        for repeats, (offset, colour, hatch, label) in zip((pair.conventional, pair.searched), looks, strict=True):
            estimate = accuracy(repeats)
            mean, half = 100 * estimate.mean, 100 * half_width(estimate)
            runs = [100 * repeat.best.accuracy for repeat in repeats]
            style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": BLACK, "linewidth": 0.6}
            style |= {"label": label} if position == 0 else {}
            axes.bar(position + offset, mean, WIDTH, yerr=half or None, capsize=2.5, **style)
            axes.plot([position + offset] * len(runs), runs, ".", color=GREY, ms=3, zorder=3)
            ends += [mean - half, mean + half, *runs]
    if scratch := study.of(student, study.baseline):
        value = 100 * accuracy(scratch).mean
        axes.axhline(value, color=BLACK, linestyle="--", linewidth=1.0, label=f"mean of {study.baseline}")
        ends.append(value)
    axes.set_ylim(*padded(ends))
    axes.set_xticks(range(len(pairs)), [pair.system for pair in pairs])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_title(student)
