"""What is to be measured: artifacts found on disk, crossed with batch sizes and thread counts."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.record import Subject
from bench.session.variants import Variant
from distill.contract import sha256_of_file
from distill.errors import UsageError
from export.artifact.manifest import MANIFEST_FILE, Manifest

ARTIFACTS = Path("out/artifacts")
"""Where exported models lie, unless it is told otherwise."""


@dataclass(frozen=True)
class Cell:
    """One row to come: an artifact, images per call, threads, on a GPU how it runs there, on a phone what is to run it.

    `asked` is None for the runtime as it comes.
    """

    folder: Path
    manifest: Manifest
    batch: int
    threads: int
    variant: Variant | None = None
    asked: str | None = None

    def __str__(self) -> str:
        how = f", {self.variant or self.asked}" if self.variant or self.asked else ""
        return f"{describe_artifact(self.manifest)} batch {self.batch}{how}"

    @property
    def accelerator(self) -> str | None:
        """What is asked to run it, as `Measurement.accelerator_requested` has it."""
        if self.variant is not None:
            return str(self.variant)
        if self.asked is not None:
            return self.asked
        return self.manifest.delegation.backend if self.manifest.delegation else None


@dataclass(frozen=True)
class NotMeasured:
    """Something that was asked for and will not be measured; `broken` if that is a failure of the artifact."""

    what: str
    reason: str
    broken: bool


@dataclass(frozen=True)
class Plan:
    """What will be measured and what will not."""

    cells: tuple[Cell, ...]
    not_measured: tuple[NotMeasured, ...]


def whole_numbers(text: str, option: str) -> list[int]:
    """Batch sizes or thread counts from "1,8", in order, none twice.

    Raises:
        UsageError: anything but whole numbers above 0 is in the text.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} {text!r} is not a list of whole numbers above 0. Write it like this: {option} 1,8")
    return list(dict.fromkeys(int(word) for word in words))


def find_artifacts(paths: Iterable[Path]) -> list[Path]:
    """Every artifact folder at or below the given folders, sorted within each, none twice.

    Raises:
        UsageError: a path does not exist, or holds no artifact.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        below = _artifacts_below(path)
        if not below:
            raise UsageError(
                f"{path} {_why_empty(path)}. Make artifacts with: python -m export CHECKPOINT --format all"
            )
        for folder in below:
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def plan(
    folders: Sequence[Path],
    *,
    batches: Sequence[int],
    threads: Sequence[int],
    refusal: Callable[[Manifest], str | None],
) -> Plan:
    """Every cell that can be measured, and for everything else the reason.

    Args:
        folders: artifact folders.
        batches: images per call.
        threads: thread counts.
        refusal: why a device cannot run an artifact, or None if it can.
    """
    cells: list[Cell] = []
    not_measured: list[NotMeasured] = []
    for folder in folders:
        try:
            manifest = Manifest.read(folder / MANIFEST_FILE)
        except UsageError as error:
            not_measured.append(NotMeasured(str(folder), str(error), broken=True))
            continue
        reason = refusal(manifest)
        if reason is not None:
            not_measured.append(NotMeasured(describe_artifact(manifest), reason, broken=False))
            continue
        for batch in batches:
            if accepts_batch(manifest, batch):
                cells += [Cell(folder, manifest, batch, count) for count in threads]
            else:
                not_measured.append(_other_batch(manifest, batch))
    return Plan(tuple(cells), tuple(not_measured))


def accepts_batch(manifest: Manifest, batch: int) -> bool:
    """True if the artifact takes this many images per call."""
    return manifest.input.shape[0] in (-1, batch)


def subject_name(manifest: Manifest) -> str:
    """How people tell the model apart: its network and the method that trained it."""
    return f"{manifest.model} {manifest.method}" if manifest.method else manifest.model


def describe_artifact(manifest: Manifest) -> str:
    """An artifact in a few words."""
    return f"{subject_name(manifest)} {manifest.format} {manifest.precision}"


def subject(cell: Cell) -> Subject:
    """What a measurement says of the artifact."""
    manifest = cell.manifest
    return Subject(
        name=subject_name(manifest),
        task=manifest.task,
        format=manifest.format,
        precision=manifest.precision,
        model=manifest.model,
        method=manifest.method,
        manifest_sha256=sha256_of_file(cell.folder / MANIFEST_FILE),
        checkpoint_sha256=manifest.checkpoint_sha256,
        teacher_sha256=manifest.teacher_sha256,
        num_parameters=manifest.num_parameters,
        size_bytes=manifest.size_bytes,
        accuracy=manifest.share_right,
        top1_agreement=manifest.parity.top1_agreement,
        accuracy_images=manifest.parity.num_images if manifest.share_right is not None else 0,
        macs=manifest.macs,
        answers=manifest.parity.answers,
    )


def _artifacts_below(path: Path) -> list[Path]:
    artifacts: list[Path] = []
    for parent, folders, files in os.walk(path):
        folders.sort()
        if MANIFEST_FILE in files:
            artifacts.append(Path(parent))
            # An artifact's own folders may hold manifests of another kind (Core ML has one).
            folders.clear()
    return artifacts


def _why_empty(path: Path) -> str:
    if not path.exists():
        return "does not exist"
    return "holds no artifact: there is no manifest.json in it or below" if path.is_dir() else "is not a folder"


def _other_batch(manifest: Manifest, batch: int) -> NotMeasured:
    reason = (
        f"it was exported for batch {manifest.input.shape[0]} and takes no other; "
        f"export it for batch {batch}, or measure eager or torchscript, which take any"
    )
    return NotMeasured(f"{describe_artifact(manifest)} batch {batch}", reason, broken=False)
