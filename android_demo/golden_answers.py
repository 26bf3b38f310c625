"""Golden vectors of answers for every pixel: `python android_demo/golden_answers.py FILE` writes outputs of networks
and what `distill.vision.painting` makes of them, for the Java tests to repeat.

The file, as Java's DataInputStream reads it (big-endian): count; then for each case a task (uint8, 1 = segmentation,
2 = depth), picture width and height, size_px (uint16), crop (uint8, 1 = crop), crop_share (float64, NaN = none),
outputs of the network (uint16), its colours (uint16 count, 3 bytes each), width * height * 3 bytes RGB of the picture
and outputs * size_px * size_px float32. Then what is expected: of a mask the pixels of each class (int32), of depth
where its scale ends (float64); and width * height * 3 bytes RGB of the painted picture.
"""

import math
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from distill.vision.painting import (  # noqa: E402  the toolkit is found from its own checkout
    DEPTH_TWENTIETHS,
    MASK_TWENTIETHS,
    PALETTES,
    Colours,
    over,
    paint_depths,
    scale_end_m,
)
from distill.vision.preprocess import Preprocess, ResizeRule  # noqa: E402

COUNT = 200
SEED = 17
CUTS: tuple[tuple[ResizeRule, float | None], ...] = (("stretch", None), ("crop", None), ("crop", 0.875), ("crop", 1.0))


def main(path: Path) -> None:
    """Write the file; its cases are the same on every machine."""
    rng = np.random.default_rng(SEED)
    records = [mask(rng) if number % 2 else depth(rng) for number in range(COUNT)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(">i", len(records)) + b"".join(records))
    print(path)


def mask(rng: np.random.Generator) -> bytes:
    """Logits with ties, of one class to thirty."""
    picture, rule = seen(rng)
    classes = int(rng.integers(1, 31))
    logits = rng.normal(0, 2, (classes, rule.size_px, rule.size_px)).round(rng.integers(0, 4)).astype(np.float32)
    labels, colours = logits.argmax(axis=0), PALETTES["segmentation"](classes)
    painted = over(picture, colours[labels], MASK_TWENTIETHS, rule.seen_box(*picture.shape[1::-1]))
    counts = np.bincount(labels.ravel(), minlength=classes)
    return asked(1, picture, rule, logits, colours) + counts.astype(">i4").tobytes() + painted.tobytes()


def depth(rng: np.random.Generator) -> bytes:
    """Metres of small and large places; some in front of the camera's plane, some not finite."""
    picture, rule = seen(rng)
    metres = (10 ** rng.uniform(-1, 3.3) * rng.uniform(-0.05, 1, (1, rule.size_px, rule.size_px))).astype(np.float32)
    unknown = rng.random(metres.shape) < rng.choice((0, 0.1, 1), p=(0.5, 0.45, 0.05))
    metres[unknown] = rng.choice((np.nan, np.inf, -np.inf), unknown.sum())
    end_m, colours = scale_end_m(metres), PALETTES["depth"](1)
    painted = over(
        picture, paint_depths(metres[0], end_m, colours), DEPTH_TWENTIETHS, rule.seen_box(*picture.shape[1::-1])
    )
    return asked(2, picture, rule, metres, colours) + struct.pack(">d", end_m) + painted.tobytes()


def seen(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Preprocess]:
    """A picture of odd or even sides, larger or smaller than what the network sees, and how it sees it."""
    height, width = (int(side) for side in rng.integers(1, 80, 2))
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    resize, share = CUTS[rng.integers(len(CUTS))]
    size_px = int(rng.integers(8, 41))
    return pixels, Preprocess(
        size_px=size_px, resize=resize, crop_share=share, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3
    )


def asked(task: int, picture: NDArray[np.uint8], rule: Preprocess, output: NDArray[Any], colours: Colours) -> bytes:
    """What a case gives to the app."""
    height, width, _ = picture.shape
    share = math.nan if rule.crop_share is None else rule.crop_share
    head = struct.pack(">BHHHBdH", task, width, height, rule.size_px, rule.resize == "crop", share, len(output))
    palette = struct.pack(">H", len(colours)) + colours.tobytes()
    return head + palette + picture.tobytes() + output.astype(">f4").tobytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
