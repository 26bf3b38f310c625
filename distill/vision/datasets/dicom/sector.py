"""What of an ultrasound picture is ultrasound: the region that the file names, and the sector inside it.

Around the sector scanners burn names, dates and settings into the pixels. They say who was examined, and a network
learns from them what it should learn from the heart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

TWO_DIMENSIONAL = 1
"""RegionSpatialFormat of a 2-D picture; others are M-mode, spectra, wave forms and graphics."""

OVERHANG_PX = 2
"""A region may reach so far beyond the picture; one that reaches farther was written for a picture of another size."""

DARK = 10
"""Levels up to this are background."""

COLOURFUL = 24
"""Pixels whose channels differ by more are no grey tissue: frames, logos and buttons, or flow inside the sector."""

MOVED = 10
"""Levels by which a pixel of a moving heart changes at least."""

MOVING_SHARE = 0.2
"""Of a part's pixels that move at least, if the part is to be tissue and any other part of the picture is."""

SMALLEST_SECTOR = 0.02
"""Share of the picture."""

SMALLEST_PART = 0.25
"""Of the largest part's area: what dark cavities cut off the sector is part of it, a word beside it is not."""

NEIGHBOURHOOD_SHARE = 1 / 24
"""Side of the square around a pixel that is looked at, of the picture's shorter side."""

DENSE = 0.85
"""Share of a neighbourhood that is bright in speckle, and is not in writing, ticks or an electrocardiogram."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sector:
    """What of the frames of a file is shown.

    Attributes:
        box: left, top, right, bottom of the region, in pixels of the frame; None for the whole frame.
        outline: corners (x, y) of the convex sector, in pixels of the box; empty where none was made out.
    """

    box: Box | None = None
    outline: tuple[tuple[int, int], ...] = ()

    def cut(self, frame: Image.Image) -> tuple[Image.Image, bool]:
        """(The region with black around its sector, whether anything that was not black is black now)."""
        image = frame.crop(self.box) if self.box else frame
        if not self.outline:
            return image, False
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).polygon(self.outline, fill=255, outline=255)
        black = Image.new(image.mode, image.size)
        masked = Image.composite(image, black, mask)
        hidden = np.asarray(image.convert("L"))[np.asarray(mask) == 0]
        return masked, bool((hidden > DARK).any())


def region(data: Any) -> tuple[Box | None, str | None]:
    """(The largest 2-D region that SequenceOfUltrasoundRegions names, why there is none where it names some)."""
    items = data.get("SequenceOfUltrasoundRegions") or []
    flat = [item for item in items if item.get("RegionSpatialFormat") == TWO_DIMENSIONAL]
    if not flat:
        return None, "name no 2-D region" if items else None
    boxes: list[Box] = []
    width, height = int(data.Columns), int(data.Rows)
    for item in flat:
        ends = [item.get(f"RegionLocation{end}") for end in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if None in ends:
            continue
        left, top, right, bottom = (int(end) for end in ends)
        fits = right < width + OVERHANG_PX and bottom < height + OVERHANG_PX
        if fits and 0 <= left < right and 0 <= top < bottom:
            boxes.append((left, top, min(right + 1, width), min(bottom + 1, height)))
    if not boxes:
        return None, "name a region that does not lie in the picture"
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])), None


def outline(frames: Sequence[NDArray[np.uint8]]) -> tuple[tuple[int, int], ...]:
    """The convex hull of the sector in frames uint8 [H, W] or [H, W, 3] of one recording; empty if there is none.

    The sector is the largest part of the picture that is densely grey, as writing is not; in a recording it moves.
    """
    brightest = np.max(np.stack(frames), axis=0)
    levels = brightest if brightest.ndim == 2 else brightest.max(axis=2)
    bright = levels > DARK
    grey = bright if brightest.ndim == 2 else bright & (np.ptp(brightest, axis=2) <= COLOURFUL)
    greys = [frame if frame.ndim == 2 else frame.max(axis=2) for frame in frames]
    moving = (np.max(greys, axis=0) - np.min(greys, axis=0)) > MOVED if len(frames) > 1 else None
    for candidates in (grey, bright):  # a sector may be tinted
        tissue = _tissue(candidates, moving)
        if tissue is not None:
            return _hull(tissue)
    return ()


def _tissue(bright: NDArray[np.bool_], moving: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """The pixels of the sector; None if it is smaller than any sector."""
    from scipy import ndimage

    side = max(round(NEIGHBOURHOOD_SHARE * min(bright.shape)), 3)
    dense = ndimage.uniform_filter(bright.astype(np.float32), side, mode="nearest") >= DENSE
    parts = np.asarray(ndimage.label(dense)[0])  # pyright: ignore[reportIndexIssue, reportGeneralTypeIssues]
    if not parts.any():
        return None
    numbers = np.arange(1, parts.max() + 1)
    areas = ndimage.sum_labels(dense, parts, numbers)
    if moving is not None:
        moves = ndimage.sum_labels(moving, parts, numbers) >= MOVING_SHARE * areas
        if (moves & (areas >= SMALLEST_SECTOR * bright.size)).any():
            areas = np.where(moves, areas, 0)
    if areas.max() < SMALLEST_SECTOR * bright.size:
        return None
    kept = np.isin(parts, numbers[areas >= SMALLEST_PART * areas.max()])
    around = ndimage.uniform_filter(kept.astype(np.float32), side, mode="nearest") > 0  # its edge has dark neighbours
    return around & bright


def _hull(pixels: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(pixels.any(axis=1))
    first, last = pixels.argmax(axis=1)[rows], pixels.shape[1] - 1 - pixels[:, ::-1].argmax(axis=1)[rows]
    points = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows], axis=1)])
    corners = points[ConvexHull(points).vertices]
    return tuple((int(x), int(y)) for x, y in corners)
