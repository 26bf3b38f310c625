"""The held-out pictures of artifacts: the same ones in every session, as this machine reads them and as files."""

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.session.cells import Cell
from distill.contract import sha256_of_json
from distill.errors import ToolError
from distill.vision.datasets import DatasetConfig, Split
from distill.vision.datasets.held_back import HeldBack
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.datasets.moved import moved
from export.artifact.manifest import Manifest

SEED = 0
"""Chooses the images, so that every artifact and every session gets the same."""

CHUNK = 256

PHONES_DECODE = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
"""How the files begin that every Android decodes, beside WebP: JPEG, PNG, GIF, BMP."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out pictures of one data set, of which no weight has learnt.

    Attributes:
        images: uint8 [N, H, W, C], of the network's size, as this machine decodes and resizes them.
        labels: int64 [N].
        class_names: in label order.
        names: what the pictures are called: their files, relative to the data set, or "picture 17".
        config: the data set.
        stored: uint8 [N, h, w, C], as they are kept, where they are no files; None where they are.
        files: where they are; None where they are no files.
        order_sha256: identity of the data and of the order, as in `Answers`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    config: DatasetConfig
    stored: NDArray[np.uint8] | None
    files: tuple[Path, ...] | None
    order_sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    def file(self, index: int) -> tuple[bytes, bool]:
        """(a picture as a file that every phone decodes, whether it had to be written anew, as a PNG)."""
        if self.files is None:
            return png(self.picture(index)), False
        return as_phones_decode(self.files[index].read_bytes(), lambda: self.picture(index))

    def picture(self, index: int) -> Image.Image:
        """A picture before it is resized, mode L or RGB."""
        if self.files is not None and isinstance(self.config, ImageFolder):
            return self.config.decode(self.files[index], self.config.channels).image
        assert self.stored is not None, "pictures that are no files are kept as pixels"
        pixels = self.stored[index]
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def load_once(cells: Iterable[Cell], count: int, place: Path | None) -> dict[Path, HeldOut | str]:
    """The pictures of each artifact, by its folder, or why there are none; those of one data set and size are shared.

    Args:
        cells: the artifacts are theirs.
        count: at most so many pictures, class-balanced.
        place: where these lie now; None for where the manifests say.
    """
    shared: dict[str, HeldOut | str] = {}
    result: dict[Path, HeldOut | str] = {}
    for cell in cells:
        manifest = cell.manifest
        data = manifest.dataset.model_dump_json() if manifest.dataset else ""
        golden = [file.sha256 for file in manifest.files if file.role == "golden-input"] if place else []
        key = sha256_of_json([data, manifest.preprocess.model_dump_json(), manifest.class_names, golden])
        if key not in shared:
            shared[key] = _load(cell.folder, manifest, count, place)
        result[cell.folder] = shared[key]
    return result


def _load(folder: Path, manifest: Manifest, count: int, place: Path | None) -> HeldOut | str:
    if manifest.dataset is None:
        return "the artifact names no data set"
    if manifest.task != "classification":
        return f"it is for {manifest.task}; what was proven when it was exported stands in its manifest"
    try:
        config = manifest.dataset if place is None else moved(manifest.dataset, place)
        split = config.load("validation", manifest.preprocess)
    except ToolError as error:
        hint = "" if place is not None else " If its pictures lie elsewhere now, name the place: --data FOLDER"
        return f"its data cannot be loaded: {error}{hint}"
    if split.class_names != manifest.class_names:
        return f"its data set has the classes {', '.join(split.class_names)}, the artifact others"
    if place is not None and manifest.parity.images == "held-out" and not _holds_golden(split, folder, manifest):
        return f"the pictures in {place} are others: the artifact's golden input is not among them"
    return _chosen(split, config, manifest, count)


def _chosen(split: Split, config: DatasetConfig, manifest: Manifest, count: int) -> HeldOut:
    chosen = split.balanced(count, seed=SEED)
    images, source = np.asarray(chosen.images), config
    while isinstance(source, HeldBack):
        source = source.of
    files = stored = None
    if isinstance(source, ImageFolder) and chosen.names is not None:
        paths = tuple(Path(source.path) / name for name in chosen.names)
        files = paths if all(path.is_file() for path in paths) else None
    if files is None:
        stored = images
        if source.stored_px is not None:
            as_kept = manifest.preprocess.model_copy(update={"size_px": source.stored_px})
            stored = np.asarray(config.load("validation", as_kept).balanced(count, seed=SEED).images)
    return HeldOut(
        images=images,
        labels=chosen.labels,
        class_names=chosen.class_names,
        names=chosen.names or tuple(f"picture {number}" for number in range(len(chosen))),
        config=source,
        stored=stored,
        files=files,
        # As the export names its own images: answers of one order can be paired.
        order_sha256=hashlib.sha256(f"{split.sha256()} {SEED}".encode()).hexdigest(),
    )


def _holds_golden(split: Split, folder: Path, manifest: Manifest) -> bool:
    """Whether the image that the artifact was proven with is one of the split."""
    golden = np.load(folder / manifest.file("golden-input"))
    chunks = (np.arange(start, min(start + CHUNK, len(split))) for start in range(0, len(split), CHUNK))
    return any(
        bool((manifest.preprocess.to_input(split.images[chunk]) == golden).all(axis=(1, 2, 3)).any())
        for chunk in chunks
    )


def as_phones_decode(data: bytes, picture: Callable[[], Image.Image]) -> tuple[bytes, bool]:
    """(a picture file that every Android decodes: this one, or a PNG of the picture, whether it is the latter)."""
    if data.startswith(PHONES_DECODE) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return data, False
    return png(picture()), True


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
