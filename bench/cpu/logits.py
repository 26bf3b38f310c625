"""Logits of artifacts on this machine, each in a process of its own."""

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.cpu.worker import Job, Outcome
from bench.cpu.workers import Workers
from bench.session.answers.judge import Logits
from bench.session.cells import find_artifacts
from bench.timing.loop import HostLimits
from export.artifact.manifest import MANIFEST_FILE, Manifest
from export.artifact.runner import RUNNERS, Batch

Outcomes = Callable[[Sequence[Job]], Generator[Outcome]]


@dataclass(frozen=True)
class Asked:
    """An artifact and the images that it is to answer: uint8 [N, H, W, C], or inputs float32 [N, C, H, W]."""

    folder: Path
    batch: int
    images: np.ndarray


@dataclass(frozen=True)
class OnThisMachine:
    """Runs artifacts on this machine's CPU, one thread each.

    Attributes:
        outcomes: runs the jobs.
        memory_limit_bytes: data each process may hold; None for no limit.
        tell: shows what is going on.
    """

    tell: Callable[[str], None]
    outcomes: Outcomes = field(default_factory=lambda: Workers().outcomes)
    memory_limit_bytes: int | None = None

    def logits(self, asked: Sequence[Asked], names: Sequence[str]) -> list[Logits | str]:
        """Logits [N, classes] for each that was asked, or why there are none; `names` are for people."""
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            jobs = [self._job(each, Path(scratch) / str(number)) for number, each in enumerate(asked)]
            found: list[Logits | str] = []
            with closing(self.outcomes(jobs)) as running:
                for number, (job, name) in enumerate(zip(jobs, names, strict=True), start=1):
                    self.tell(f"answers on this machine · {number} of {len(jobs)} · {name}")
                    outcome = next(running)
                    if outcome.answered is None or job.logits is None:
                        found.append(outcome.failure or "the worker gave no logits")
                    else:
                        found.append(np.load(job.logits, allow_pickle=False))
            return found

    def of_inputs(self, folder: Path, batch: int, inputs: Mapping[str, Batch]) -> dict[str, Logits]:
        """Logits of one artifact for several sets of inputs, by their names; those that fail are left out."""
        if not inputs:
            return {}
        whole = np.concatenate(list(inputs.values()))
        (logits,) = self.logits([Asked(folder, batch, whole)], ["looking for what explains its answers"])
        if isinstance(logits, str):
            return {}
        parts = np.split(logits, np.cumsum([len(each) for each in inputs.values()])[:-1])
        return dict(zip(inputs, parts, strict=True))

    def _job(self, asked: Asked, scratch: Path) -> Job:
        kind = "inputs" if asked.images.dtype == np.float32 else "images"
        np.savez(scratch.with_suffix(".npz"), **{kind: asked.images})  # pyright: ignore[reportArgumentType]
        return Job(
            task="logits",
            folder=str(asked.folder.resolve()),
            batch=asked.batch,
            threads=1,
            limits=HostLimits(),
            memory_limit_bytes=self.memory_limit_bytes,
            images=str(scratch.with_suffix(".npz")),
            logits=str(scratch.with_suffix(".npy")),
        )


def runs_here(manifest: Manifest) -> bool:
    """Whether this machine has a runner for an artifact."""
    return manifest.format in RUNNERS


def eager_beside(folder: Path, manifest: Manifest) -> Path | None:
    """The eager artifact of the same checkpoint, in the folder that an artifact lies in; None if there is none."""
    for other in find_artifacts([folder.resolve().parent]):
        found = Manifest.read(other / MANIFEST_FILE)
        if found.format == "eager" and found.checkpoint_sha256 == manifest.checkpoint_sha256:
            return other
    return None
