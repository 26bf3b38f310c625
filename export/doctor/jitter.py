"""Training images as another frame of the same scene might look, so that they are no longer the pixels learnt by heart.

A student that has learnt its training images gives right answers to them by such margins that no quantization changes
one: MobileNetV3-Small on the echo phantom kept 100 % of its answers to them in int8 and 98.9 % of those to the
validation images. Moved by up to 2 pixels of 64 and with up to a tenth more or less contrast, the training images had
the margins of the validation images (median 8.8 and 9.0, first percentile 0.28 and 0.30), and kept
99.0 % of their answers.
"""

import numpy as np
from numpy.typing import NDArray

SHIFT_SHARE = 1 / 32
"""Of the image's side, either way."""

CONTRAST = 0.1


def jitter(images: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Images [N, H, W, C], each moved (its edge repeated) and its pixels multiplied, by amounts that `seed` draws."""
    rng = np.random.default_rng(seed)
    count, height, width, _ = images.shape
    most = max(1, round(min(height, width) * SHIFT_SHARE))
    shifts = rng.integers(0, 2 * most + 1, (count, 2))
    gains = rng.uniform(1 - CONTRAST, 1 + CONTRAST, count)
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    result = np.empty_like(images)
    for index, ((down, right), gain) in enumerate(zip(shifts, gains, strict=True)):
        moved = padded[index, down : down + height, right : right + width]
        result[index] = np.clip(np.round(moved * gain), 0, 255).astype(np.uint8)
    return result
