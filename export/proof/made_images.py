"""Pictures made to exercise a network: smooth and rough, dark and bright, the corners of what pixels can be."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill.vision.preprocess import Preprocess

NUM_SYNTHETIC = 64
CELLS = 4
"""Fields of the coarse checkerboard from top to bottom."""


def synthetic_images(preprocess: Preprocess, seed: int) -> NDArray[np.uint8]:
    """What a model without data is proven on: uint8 [64, size, size, C], the same for the same seed.

    Plain, checked and shaded pictures first, then noise of several grains, contrasts and brightnesses.
    """
    channels, height, width = preprocess.input_shape
    rng = np.random.default_rng(seed)
    planes = list(_plain_and_regular(height, width, channels))
    while len(planes) < NUM_SYNTHETIC:
        planes.append(_noise(rng, len(planes), height, width, channels))
    pixels = np.clip(np.rint(np.stack(planes[:NUM_SYNTHETIC]) * 255), 0, 255).astype(np.uint8)
    # One that is typical comes first: it becomes the golden input.
    return pixels[::-1].copy()


def _plain_and_regular(height: int, width: int, channels: int) -> Iterator[NDArray[np.float64]]:
    """Pictures [H, W, C] in [0, 1] without chance."""
    rows, columns = np.mgrid[0:height, 0:width]
    for grey in (0.0, 0.5, 1.0):
        yield np.full((height, width, channels), grey)
    for channel in range(channels if channels > 1 else 0):
        yield np.eye(channels)[channel] * np.ones((height, width, 1))
    for cell_px in (1, max(2, height // CELLS)):
        yield _in_all((rows // cell_px + columns // cell_px) % 2, channels)
    across, down = columns / max(1, width - 1), rows / max(1, height - 1)
    for shade in (across, down, (across + down) / 2, 1 - across):
        yield _in_all(shade, channels)


def _noise(rng: np.random.Generator, number: int, height: int, width: int, channels: int) -> NDArray[np.float64]:
    """Noise [H, W, C]: in turn of a coarse, usual or fine grain, and of full or little contrast, dark or bright."""
    grain = (8, 3, 8, max(height, width))[number % 4]
    coarse = rng.random((grain, grain, channels))
    enlarged = [
        Image.fromarray(coarse[:, :, channel].astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        for channel in range(channels)
    ]
    low, high = ((0.0, 1.0), (0.0, 1.0), (0.0, 0.3), (0.0, 1.0), (0.7, 1.0), (0.4, 0.6))[number // 4 % 6]
    return low + (high - low) * np.stack([np.asarray(plane, dtype=np.float64) for plane in enlarged], axis=-1)


def _in_all(plane: NDArray[np.generic], channels: int) -> NDArray[np.float64]:
    return np.repeat(plane.astype(np.float64)[:, :, None], channels, axis=2)
