"""Shared by all tests: a private cache, one thread, and small things to train and export."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

# Before torch is imported, and inherited by every command a test starts: two threads on tiny networks only wait for
# each other, and far longer when the machine has other work.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from PIL import Image

# A shell that starts the tests in the background has Ctrl-C ignored, and every command they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes `<split>/<class>/<n>.png` trees whose classes differ in brightness."""

    def write(
        classes: tuple[str, ...] = ("dark", "bright"), per_class: int = 6, size: tuple[int, int] = (20, 14)
    ) -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "pictures"
        for split in ("train", "validation"):
            for label, name in enumerate(classes):
                folder = root / split / name
                folder.mkdir(parents=True)
                for number in range(per_class):
                    low = 20 + 180 * label // max(len(classes) - 1, 1)
                    pixels = rng.integers(low, low + 50, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
        return root

    return write
