"""Golden vectors of the image path: `python android_demo/golden_images.py FILE` writes pictures and what
`distill.vision.preprocess.Preprocess` makes of them, for the Java tests to repeat.

The file, integers big-endian as Java's DataInputStream reads them: count; then for each picture width, height (uint16),
size_px (uint16), crop (uint8, 1 = crop), crop_share (float64, NaN = none), interpolation (uint8, 0 = bilinear, 1 =
bicubic), channels (uint8), width * height * 3 bytes RGB, and size_px * size_px * channels bytes, row by row, channels
last.
"""

import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from distill.vision.preprocess import Preprocess  # noqa: E402  the toolkit is found from its own checkout

COUNT = 900
CROP_SHARES = (None, None, 0.875, 0.9, 1.0, 0.3)
SIZES_PX = (8, 31, 32, 64, 96)
SEED = 7


def main(path: Path) -> None:
    """Write the file; its pictures are the same on every machine."""
    if int(PIL.__version__.split(".")[0]) < 13:
        raise SystemExit(
            f"the app repeats Pillow 13, which orders the passes of a resize anew; found {PIL.__version__}"
        )
    records = [record(picture, rule) for picture, rule in cases()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(">i", len(records)) + b"".join(records))
    print(path)


def cases() -> Iterator[tuple[NDArray[np.uint8], Preprocess]]:
    """Pictures uint8 [H, W, 3] with a rule each; everything is drawn independently, so that all combinations occur."""
    rng = np.random.default_rng(SEED)
    for _ in range(COUNT):
        channels, resize = int(rng.choice((1, 3))), str(rng.choice(("stretch", "crop", "crop")))
        rule = {
            "size_px": int(rng.choice(SIZES_PX)),
            "resize": resize,
            "crop_share": CROP_SHARES[rng.integers(len(CROP_SHARES))] if resize == "crop" else None,
            "interpolation": str(rng.choice(("bilinear", "bicubic"))),
            "channels": channels,
            "mean": (0.0,) * channels,
            "std": (1.0,) * channels,
        }
        yield picture(rng), Preprocess.model_validate(rule)


def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A gradient with noise, hard edges or plain noise, in colour or grey, of odd and even sides from 1 to 149."""
    height, width = (int(side) for side in rng.integers(1, 150, 2))
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    kind = rng.choice(("gradient", "edges", "noise"))
    if kind == "gradient":
        ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
        pixels = (ramp // 2 + pixels // 2).astype(np.uint8)
    elif kind == "edges":
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    return np.repeat(pixels[:, :, :1], 3, axis=2) if rng.random() < 0.3 else pixels


def record(pixels: NDArray[np.uint8], rule: Preprocess) -> bytes:
    """One picture and its expected result as bytes."""
    height, width, _ = pixels.shape
    share = math.nan if rule.crop_share is None else rule.crop_share
    how = rule.resize == "crop", share, rule.interpolation == "bicubic", rule.channels
    head = struct.pack(">HHHBdBB", width, height, rule.size_px, *how)
    return head + pixels.tobytes() + rule.resize_image(Image.fromarray(pixels)).tobytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
