"""All figures of a study, in the order in which a page shows them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.figures.accuracy import draw_accuracy
from distill.figures.answers import draw_answers
from distill.figures.epochs import draw_curriculum, draw_training_curves
from distill.figures.gallery import Drawing, Entry, LeftOut, write_drawing, write_index
from distill.figures.hints import draw_hints
from distill.figures.image_size import draw_image_size
from distill.figures.journal import Time
from distill.figures.lengths import draw_lengths
from distill.figures.runs import StudyRuns
from distill.figures.style import house_style
from distill.figures.trade_off import draw_trade_off


def draw_all(study: StudyRuns, times: Sequence[Time]) -> Iterator[Drawing | LeftOut]:
    """Every figure, or why there is none; one at a time, for figures are large."""
    yield from draw_accuracy(study)
    yield from draw_trade_off(study, times)
    yield from draw_hints(study)
    yield from draw_image_size(study)
    yield from draw_lengths(study)
    yield from draw_training_curves(study)
    yield from draw_curriculum(study)
    yield from draw_answers(study)


def draw_study(study: StudyRuns, times: Sequence[Time], out: Path) -> tuple[list[Entry], list[LeftOut]]:
    """Draw and write everything; `figures.json` last."""
    entries: list[Entry] = []
    left_out: list[LeftOut] = []
    with house_style():
        for result in draw_all(study, times):
            if isinstance(result, LeftOut):
                left_out.append(result)
            else:
                entries.append(write_drawing(out, result))
    write_index(out, entries)
    return entries, left_out
