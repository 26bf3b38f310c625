"""Golden input and output: one image and the logits an artifact gave for it, for any other device to repeat."""

from pathlib import Path

import numpy as np

from export.artifact.runner import Batch

INPUT_FILE = "golden_input.npy"
OUTPUT_FILE = "golden_output.npy"


def write(folder: Path, image: Batch, logits: Batch) -> None:
    """Write float32 [1, C, H, W] in [0, 1] and float32 [1, classes] as NumPy files, little-endian and C order."""
    np.save(folder / INPUT_FILE, np.ascontiguousarray(image, dtype="<f4"), allow_pickle=False)
    np.save(folder / OUTPUT_FILE, np.ascontiguousarray(logits, dtype="<f4"), allow_pickle=False)
