"""Colours of classes and depths over a picture, against what a person would paint by hand."""

import numpy as np
import pytest

from distill.vision.painting import (
    DEPTH_TWENTIETHS,
    MASK_TWENTIETHS,
    PALETTES,
    SCALE_ENDS_M,
    UNKNOWN_GREY,
    class_colours,
    depth_colours,
    over,
    paint_depths,
    scale_end_m,
)
from distill.vision.preprocess import Box
from distill.vision.tasks import TASKS


def test_every_task_has_its_colours() -> None:
    assert PALETTES.keys() == TASKS.keys()
    assert [len(PALETTES[task](9)) for task in ("classification", "segmentation", "depth")] == [0, 9, 256]


def test_many_classes_have_colours_of_their_own() -> None:
    assert len(np.unique(class_colours(28), axis=0)) == 28


def test_depths_get_darker_all_the_way() -> None:
    """Luma (ITU-R 601): what is left of the colours for somebody who sees none."""
    assert (np.diff(depth_colours() @ np.array([0.299, 0.587, 0.114])) <= 0.5).all()
    assert np.ptp(depth_colours() @ np.array([0.299, 0.587, 0.114])) > 150


@pytest.mark.parametrize(("farthest", "end"), [(0.0, 0.5), (0.5, 0.5), (0.51, 1), (4.2, 5), (12, 15), (5000, 1000)])
def test_a_scale_ends_at_a_round_figure_beyond_the_farthest(farthest: float, end: float) -> None:
    assert scale_end_m(np.array([[0.0, farthest, np.nan, np.inf]])) == end
    assert scale_end_m(np.full((2, 2), np.nan)) == SCALE_ENDS_M[0]


def test_depth_is_painted_by_its_share_of_the_scale() -> None:
    colours = depth_colours()
    painted = paint_depths(np.array([-1, 0, 2.5, 5, 9, np.nan], dtype=np.float32), 5.0, colours)
    np.testing.assert_array_equal(painted[:5], colours[[0, 0, 128, 255, 255]])
    assert painted[5].tolist() == [UNKNOWN_GREY] * 3


@pytest.mark.parametrize(
    ("box", "rows", "first", "last"),
    [(None, slice(0, 4), 0, 7), ((2.0, 0.0, 6.0, 4.0), slice(0, 4), 2, 5), ((2.6, 0.6, 5.4, 3.4), slice(1, 3), 3, 4)],
)
def test_what_the_network_saw_is_painted_and_nothing_else(box: Box | None, rows: slice, first: int, last: int) -> None:
    picture = np.full((4, 8, 3), 100, dtype=np.uint8)
    cells = np.zeros((2, 2, 3), dtype=np.uint8)
    cells[:, 1] = 200
    painted = over(picture, cells, MASK_TWENTIETHS, box)
    middle = (first + last + 1) // 2
    expected = np.full((4, 8), 100)
    expected[rows, first:middle], expected[rows, middle : last + 1] = 45, 155
    np.testing.assert_array_equal(painted, np.repeat(expected[..., None], 3, axis=2))
    assert over(picture, cells, DEPTH_TWENTIETHS)[0, -1].tolist() == [200, 200, 200]
    assert picture.min() == 100
    assert (over(picture, cells, MASK_TWENTIETHS, (3.6, 0.0, 4.4, 4.0)) == picture).all(), "less than a pixel was seen"
