"""How an answer for every pixel is shown: colours of classes and of depths, laid over the picture it was given for.

The one place of these colours. Run pages paint with them; a bundle carries them to the app, whose Java paints the same
pixels (`android_demo/golden_answers.py`). All of it is integer arithmetic, or float64 in one order. This module needs
NumPy, and matplotlib when the colours of depths are asked for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.vision.preprocess import Box
from distill.vision.tasks import TaskName

Colours = NDArray[np.uint8]
"""[count, 3], red, green and blue."""

CLASS_COLOURS = (
    (40, 44, 52),
    (214, 69, 65),
    (244, 179, 80),
    (65, 131, 215),
    (63, 195, 128),
    (155, 89, 182),
    (54, 215, 212),
)
"""Of the first classes; later ones repeat them, darker."""

UNKNOWN_GREY = 150
"""Red, green and blue of a pixel of which nothing is known."""

DEPTH_MAP = "viridis_r"
"""Near is yellow, far is violet; the lightness falls all the way, so that it reads in grey and to the colour-blind."""

MASK_TWENTIETHS, DEPTH_TWENTIETHS = 11, 20
"""How much of a painted pixel is the colour. Through a mask the picture shows; in depth it would change the metres."""

SCALE_ENDS_M = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000)
"""Where a scale of depths may end: it begins at 0 and takes the first end that no depth of the picture exceeds."""


def class_colour(label: int) -> tuple[int, int, int]:
    """Red, green and blue of a class."""
    darker = 0.6 ** (label // len(CLASS_COLOURS))
    red, green, blue = (round(darker * value) for value in CLASS_COLOURS[label % len(CLASS_COLOURS)])
    return red, green, blue


def class_colours(num_classes: int) -> Colours:
    """Of every class of a mask."""
    return np.array([class_colour(label) for label in range(num_classes)], dtype=np.uint8)


def depth_colours(_: int = 1) -> Colours:
    """256 colours from the nearest to the farthest."""
    from matplotlib import colormaps

    return (colormaps[DEPTH_MAP](np.arange(256), bytes=True)[:, :3]).astype(np.uint8)


def _no_colours(_: int) -> Colours:
    return np.empty((0, 3), dtype=np.uint8)


PALETTES: dict[TaskName, Callable[[int], Colours]] = {
    "classification": _no_colours,
    "segmentation": class_colours,
    "depth": depth_colours,
}
"""Number of outputs -> colours that an answer is painted with."""


def scale_end_m(metres: NDArray[Any]) -> float:
    """Where the scale of a depth map ends; values that are not finite count for nothing."""
    known = metres[np.isfinite(metres)]
    farthest = float(known.max()) if known.size else 0.0
    return float(next((end for end in SCALE_ENDS_M if farthest <= end), SCALE_ENDS_M[-1]))


def paint_depths(metres: NDArray[Any], end_m: float, colours: Colours) -> Colours:
    """A depth map [...] as colours [..., 3] of a scale from 0 to `end_m`; grey where it is not finite."""
    known = np.isfinite(metres)
    shares = np.maximum(0.0, np.where(known, metres, 0).astype(np.float64)) / end_m
    painted = colours[np.minimum(len(colours) - 1, shares * len(colours)).astype(np.int64)]
    return np.where(known[..., None], painted, np.uint8(UNKNOWN_GREY))


def over(picture: NDArray[np.uint8], cells: Colours, twentieths: int, box: Box | None = None) -> Colours:
    """A picture uint8 [H, W, 3] with the colours of an answer over what of it the network saw.

    Args:
        picture: not changed.
        cells: uint8 [size, size, 3]; a pixel of the picture takes that of the cell which its middle lies in.
        twentieths: how much of a pixel is the colour; the rest is the picture.
        box: what the network saw (`Preprocess.seen_box`), the rest stays as it is; None for the whole picture.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    down, rows = _cells(height, top, bottom, len(cells))
    across, columns = _cells(width, left, right, len(cells))
    painted = picture.copy()
    seen = painted[down, across]
    mixed = (20 - twentieths) * seen.astype(np.int64) + twentieths * cells[rows[:, None], columns].astype(np.int64)
    seen[...] = mixed // 20
    return painted


def _cells(side: int, first: float, last: float, count: int) -> tuple[slice, NDArray[np.int64]]:
    """Which pixels of a side have their middles between two ends, and which of `count` cells each lies in."""
    middles = np.arange(side) + 0.5
    inside = np.flatnonzero((middles >= first) & (middles < last))
    if not inside.size:
        return slice(0, 0), inside
    return slice(int(inside[0]), int(inside[-1]) + 1), ((middles[inside] - first) * count / (last - first)).astype(int)
