"""Accuracy where it is timed: held-out images through the very artifact, on the device that measures its latency."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.cpu.logits import Asked, OnThisMachine
from bench.cpu.worker import Job, Outcome
from bench.session.answers.faults import Suspect, find_fault
from bench.session.answers.held_out import HeldOut, load_once
from bench.session.answers.judge import Logits, judged
from bench.session.cells import Cell
from bench.session.row import Accuracy

NO_EAGER_IN_SESSION = "no agreement: the eager artifact of this checkpoint is not in this session"


def measure_accuracy(
    cells: Sequence[Cell],
    count: int,
    *,
    data: Path | None = None,
    memory_limit_bytes: int | None,
    outcomes: Callable[[Sequence[Job]], Generator[Outcome]],
    tell: Callable[[str], None],
) -> dict[Path, Accuracy]:
    """The accuracy of every artifact, by its folder; where there is none, the note says why.

    Args:
        cells: the artifacts are theirs; each is run once, whatever its thread counts and batches.
        count: at most so many held-out images, class-balanced.
        data: where these lie now; None for where the manifests say.
        memory_limit_bytes: of a worker.
        outcomes: runs the jobs.
        tell: shows what is going on.
    """
    artifacts = {cell.folder: cell for cell in cells}
    tell("loading held-out images")
    held_out = load_once(artifacts.values(), count, data)
    ready = {folder: images for folder, images in held_out.items() if isinstance(images, HeldOut)}
    asked = [Asked(folder, artifacts[folder].batch, images.images) for folder, images in ready.items()]
    host = OnThisMachine(tell, outcomes, memory_limit_bytes)
    logits = dict(zip(ready, host.logits(asked, [str(artifacts[folder]) for folder in ready]), strict=True))
    return {folder: _accuracy(cell, artifacts, held_out[folder], logits, host) for folder, cell in artifacts.items()}


def _accuracy(
    cell: Cell,
    artifacts: Mapping[Path, Cell],
    held_out: HeldOut | str,
    logits: Mapping[Path, Logits | str],
    host: OnThisMachine,
) -> Accuracy:
    if isinstance(held_out, str):
        return Accuracy(note=held_out)
    found = logits[cell.folder]
    if isinstance(found, str):
        return Accuracy(note=found)
    eager = _eager(cell, artifacts, logits)
    its = logits[eager] if eager else None
    its = its if isinstance(its, np.ndarray) else None
    fault = None
    if eager is not None and its is not None and eager != cell.folder:
        run_eager = partial(host.of_inputs, eager, artifacts[eager].batch)
        suspect = Suspect(here=found, host=None, eager=its, run_artifact=run_eager, run_eager=run_eager)
        fault = find_fault(suspect, held_out, cell.manifest)
    return Accuracy(
        judged(found, held_out, eager=its, host=None, fault=fault), note="" if its is not None else NO_EAGER_IN_SESSION
    )


def _eager(cell: Cell, artifacts: Mapping[Path, Cell], logits: Mapping[Path, Logits | str]) -> Path | None:
    """The eager artifact of the same checkpoint, if there is one in this session."""
    for folder, other in artifacts.items():
        same = other.manifest.checkpoint_sha256 == cell.manifest.checkpoint_sha256
        if same and other.manifest.format == "eager" and folder in logits:
            return folder
    return None
