"""Accuracy where it is timed: held-out images through the very artifact, on the device that measures its latency."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.cpu.worker import Job, Outcome
from bench.session.cells import Cell
from bench.session.row import Accuracy
from bench.timing.loop import HostLimits
from distill.contract import sha256_of_json
from distill.errors import ToolError
from distill.vision.datasets import Split
from distill.vision.datasets.moved import moved

CHUNK = 256
SEED = 0
"""Chooses the images, so that every artifact and every session gets the same."""


@dataclass(frozen=True)
class HeldOut:
    """Images in a file, as the worker reads them, and their labels."""

    path: Path
    labels: NDArray[np.int64]


def measure_accuracy(
    cells: Sequence[Cell],
    count: int,
    *,
    data: Path | None = None,
    memory_limit_bytes: int | None,
    outcomes: Callable[[Sequence[Job]], Generator[Outcome]],
    tell: Callable[[str], None],
    scratch: Path,
) -> dict[Path, Accuracy]:
    """The accuracy of every artifact, by its folder; where there is none, the note says why.

    Args:
        cells: the artifacts are theirs; each is run once, whatever its thread counts and batches.
        count: at most so many held-out images, class-balanced.
        data: where these lie now; None for where the manifests say.
        memory_limit_bytes: of a worker.
        outcomes: runs the jobs.
        tell: shows what is going on.
        scratch: folder for the images; the caller removes it.
    """
    artifacts = {cell.folder: cell for cell in cells}
    tell("loading held-out images")
    held_out = _load_once(artifacts.values(), count, data, scratch)
    ready = {folder: images for folder, images in held_out.items() if isinstance(images, HeldOut)}
    jobs = [_job(artifacts[folder], images.path, memory_limit_bytes) for folder, images in ready.items()]
    results: dict[Path, Outcome] = {}
    with closing(outcomes(jobs)) as running:
        for number, folder in enumerate(ready, start=1):
            tell(f"accuracy of {artifacts[folder]} · {number} of {len(ready)}")
            results[folder] = next(running)
    return {folder: _accuracy(cell, artifacts, held_out, results) for folder, cell in artifacts.items()}


def _load_once(cells: Iterable[Cell], count: int, place: Path | None, scratch: Path) -> dict[Path, HeldOut | str]:
    """The images of each artifact, or why there are none; artifacts of one data set and size share a file."""
    shared: dict[str, HeldOut | str] = {}
    result: dict[Path, HeldOut | str] = {}
    for cell in cells:
        manifest = cell.manifest
        data = manifest.dataset.model_dump_json() if manifest.dataset else ""
        golden = [file.sha256 for file in manifest.files if file.role == "golden-input"] if place else []
        key = sha256_of_json([data, manifest.preprocess.model_dump_json(), manifest.class_names, golden])
        if key not in shared:
            shared[key] = _load(cell, count, place, scratch / f"{key}.npz")
        result[cell.folder] = shared[key]
    return result


def _load(cell: Cell, count: int, place: Path | None, path: Path) -> HeldOut | str:
    manifest = cell.manifest
    if manifest.dataset is None:
        return "the artifact names no data set"
    try:
        config = manifest.dataset if place is None else moved(manifest.dataset, place)
        split = config.load("validation", manifest.preprocess)
    except ToolError as error:
        hint = "" if place is not None else " If its pictures lie elsewhere now, name the place: --data FOLDER"
        return f"its data cannot be loaded: {error}{hint}"
    if split.class_names != manifest.class_names:
        return f"its data set has the classes {', '.join(split.class_names)}, the artifact others"
    if place is not None and manifest.parity.images == "held-out" and not _holds_golden(split, cell):
        return f"the pictures in {place} are others: the artifact's golden input is not among them"
    chosen = split.balanced(count, seed=SEED)
    np.savez(path, images=np.asarray(chosen.images))
    return HeldOut(path, chosen.labels)


def _holds_golden(split: Split, cell: Cell) -> bool:
    """Whether the image that the artifact was proven with is one of the split."""
    golden = np.load(cell.folder / cell.manifest.file("golden-input"))
    chunks = (np.arange(start, min(start + CHUNK, len(split))) for start in range(0, len(split), CHUNK))
    return any(
        bool((cell.manifest.preprocess.to_input(split.images[chunk]) == golden).all(axis=(1, 2, 3)).any())
        for chunk in chunks
    )


def _accuracy(
    cell: Cell, artifacts: Mapping[Path, Cell], held_out: Mapping[Path, HeldOut | str], results: Mapping[Path, Outcome]
) -> Accuracy:
    data = held_out[cell.folder]
    if isinstance(data, str):
        return Accuracy(note=data)
    predictions = results[cell.folder].predictions
    if predictions is None:
        return Accuracy(note=results[cell.folder].failure or "the worker gave no predictions")
    predicted = np.asarray(predictions)
    eager, note = _eager(cell, artifacts, results), ""
    if eager is None:
        note = "no agreement: the eager artifact of this checkpoint is not in this session"
    return Accuracy(
        accuracy=float(np.mean(predicted == data.labels)),
        agreement=None if eager is None else float(np.mean(predicted == eager)),
        images=len(predicted),
        note=note,
    )


def _eager(cell: Cell, artifacts: Mapping[Path, Cell], results: Mapping[Path, Outcome]) -> NDArray[np.int64] | None:
    """What the eager artifact of the same checkpoint predicts, if there is one."""
    for folder, other in artifacts.items():
        same = other.manifest.checkpoint_sha256 == cell.manifest.checkpoint_sha256
        if same and other.manifest.format == "eager" and folder in results:
            predictions = results[folder].predictions
            return None if predictions is None else np.asarray(predictions, dtype=np.int64)
    return None


def _job(cell: Cell, images: Path, memory_limit_bytes: int | None) -> Job:
    return Job(
        task="predictions",
        folder=str(cell.folder.resolve()),
        batch=cell.batch,
        threads=cell.threads,
        limits=HostLimits(),
        memory_limit_bytes=memory_limit_bytes,
        images=str(images),
    )
