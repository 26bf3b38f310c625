"""Reading picture files: our decoder beside bare Pillow with the same threads, and the time of a data page."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from distill import terminal
from distill.data_page.survey import look_at
from distill.vision.datasets.image_files import ImageFiles
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.preprocess import Preprocess
from tests.performance.side_by_side import Comparison, compare

SIZE_PX = 64
ROUNDS = 12
NUM_DECODED = 200
NUM_OF_PAGE = 10_000
RULE = Preprocess(size_px=SIZE_PX, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def comparisons() -> list[Comparison]:
    """Decoding and resizing against Pillow's open, convert and resize, for JPEG and PNG."""
    with tempfile.TemporaryDirectory() as folder:
        return [_decoding(Path(folder), suffix) for suffix in ("jpg", "png")]


def _decoding(folder: Path, suffix: str) -> Comparison:
    files = write_photos(folder / suffix, NUM_DECODED, suffix)
    ours = ImageFiles(folder, files, RULE)

    def bare(file: Path) -> object:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))

    def base() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(bare, files))

    return compare(f"decode .{suffix} against bare Pillow", "0.9 or more", base, ours.decode_all, rounds=ROUNDS)


def data_page() -> None:
    """Look at 10,000 pictures as the data page does."""
    with tempfile.TemporaryDirectory() as folder:
        for split, share in (("train", 0.8), ("validation", 0.2)):
            for name in ("one", "other"):
                write_photos(Path(folder) / split / name, round(NUM_OF_PAGE * share / 2), "jpg")
        started, used = time.perf_counter(), time.process_time()
        look_at(ImageFolder(path=folder))
        terminal.say(
            f"data page of {NUM_OF_PAGE:,} pictures: {time.perf_counter() - started:.1f} s, "
            f"{time.process_time() - used:.1f} s of processor time (goal: 60 s or less)"
        )


def write_photos(folder: Path, count: int, suffix: str) -> tuple[Path, ...]:
    """Smooth scenes with some grain, 500 x 375, each unlike the others."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(f"{folder.parent.name}/{folder.name}".encode()))
    files = tuple(folder / f"{number:05d}.{suffix}" for number in range(count))
    for file in files:
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        large = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
        grainy = np.clip(large + rng.integers(-6, 7, (375, 500, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(file)
    return files
