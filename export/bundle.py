"""Bundle: the artifacts that the demo app carries, in one folder with an index that the app reads.

The folder holds `bundle.json` and one sub-folder per artifact, as exported. `make app` packs it; the app refuses an
index of another schema version.
"""

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill import terminal
from distill.contract import Contract, Strict, explain, sha256_of_file
from distill.errors import UsageError
from distill.vision.painting import PALETTES
from export.artifact.manifest import MANIFEST_FILE, Manifest, read_artifact
from export.artifact.staging import whole_folder

INDEX_FILE = "bundle.json"
DEFAULT_OUT = Path("out/bundle")
JOURNAL = Path("out/measurements.jsonl")

APP_FORMATS = ("executorch", "onnx", "litert", "torchscript")
"""Formats that the app has an engine for."""


class BundledArtifact(Strict):
    """One artifact.

    Attributes:
        folder: its sub-folder.
        manifest_sha256: its identity.
        files: every file in it that the app copies, the manifest among them.
        colours: that its answers are painted with, of `distill.vision.painting`: one of each class of a mask, those of
            a depth map from near to far; none of a classifier.
    """

    folder: str
    manifest_sha256: str
    files: tuple[str, ...]
    colours: tuple[Annotated[str, Field(pattern="^#[0-9a-f]{6}$")], ...]


class BundledMedian(Strict):
    """Median latency in milliseconds of one artifact on one device, at batch 1; the latest valid row of the journal."""

    manifest_sha256: str
    device: str
    threads: int
    median_ms: float
    utc_time: str


class Bundle(Contract):
    """The index of a bundle."""

    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    artifacts: tuple[BundledArtifact, ...]
    measurements: tuple[BundledMedian, ...]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A bundle of version 1 has no colours."""
        items = raw.get("artifacts")
        if raw.get("schema_version") != 1 or not isinstance(items, list):
            return raw
        old = cast("list[Any]", items)
        new = [{"colours": ()} | cast("dict[str, Any]", item) if isinstance(item, dict) else item for item in old]
        return raw | {"schema_version": 2, "artifacts": new}


class _Part(BaseModel):
    """What is read of a measurement; the rest of the line is not this package's business."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Subject(_Part):
    manifest_sha256: str


class _Device(_Part):
    kind: str
    name: str
    instrument: str | None = None
    emulated: bool = False


class _Row(_Part):
    schema_version: Literal[1, 2, 3, 4, 5, 6]
    utc_time: str
    subject: _Subject
    device: _Device
    threads: int
    batch: int
    samples_ms: tuple[float, ...]
    validity: str


def bundle(
    artifacts: Annotated[list[Path], typer.Argument(help="artifact folders, or folders that hold some")],
    out: Annotated[Path, typer.Option(help="the bundle's folder; an older one is replaced")] = DEFAULT_OUT,
    measurements: Annotated[
        Path | None,
        typer.Option(help="journal whose phone rows the app shows", show_default=f"{JOURNAL} if it is there"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the index as JSON on stdout")] = False,
) -> None:
    """Put artifacts into a folder for the demo app: then `make app`."""
    if measurements is None and JOURNAL.is_file():
        measurements = JOURNAL
    folders = find_artifacts(artifacts)
    index = write_bundle(folders, out, read_medians(measurements) if measurements else ())
    if as_json:
        terminal.answer(index.to_json())
        return
    rows = [[item.folder, str(folder)] for item, folder in zip(index.artifacts, folders, strict=True)]
    terminal.console.print(terminal.table(f"bundle of {len(rows)} artifacts", ("in the app", "from"), rows))
    terminal.product(out, f"make app BUNDLE={out}")


def find_artifacts(places: Sequence[Path]) -> list[Path]:
    """Artifact folders among and below some places that the app can carry, sorted within each place.

    Raises:
        UsageError: nothing there, a damaged artifact, or one named by itself that the app has no engine for.
    """
    folders: list[Path] = []
    for place in places:
        if (place / MANIFEST_FILE).is_file():
            _require_served(place, read_artifact(place))
            folders.append(place)
            continue
        below = sorted(path.parent for path in place.rglob(MANIFEST_FILE))
        folders += [folder for folder in below if why_not_in_the_app(read_artifact(folder)) is None]
    if not folders:
        raise UsageError(
            f"found no artifact for the app in {', '.join(map(str, places))}. It runs {', '.join(APP_FORMATS)}; "
            "make one with: python -m export CHECKPOINT --format onnx"
        )
    return list(dict.fromkeys(folders))


def why_not_in_the_app(manifest: Manifest) -> str | None:
    """What of an artifact the app does not serve, in words; None if it serves it."""
    if manifest.format not in APP_FORMATS:
        return f"is {manifest.format}; the app runs {', '.join(APP_FORMATS)}"
    if manifest.answers_small:
        size = " x ".join(map(str, manifest.output.shape[2:]))
        return f"answers in {size}, which the app does not enlarge; export it without --low-resolution"
    return None


def _require_served(folder: Path, manifest: Manifest) -> None:
    if (reason := why_not_in_the_app(manifest)) is not None:
        raise UsageError(f"{folder} {reason}.")


def write_bundle(folders: Sequence[Path], out: Path, medians: Sequence[BundledMedian]) -> Bundle:
    """Copy artifacts and write the index; the folder appears whole or not at all, an older bundle is replaced.

    Args:
        folders: valid artifacts.
        out: the bundle's folder; anything else that lies there is not touched.
        medians: those of other artifacts are left out.

    Raises:
        UsageError: `out` is a folder with other things in it.
        WorkFailed: no space, or not writable.
    """
    if out.exists() and any(out.iterdir()) and not (out / INDEX_FILE).is_file():
        raise UsageError(f"{out} holds other things than a bundle. Choose an empty place with --out.")
    with whole_folder(out) as staging:
        items = tuple(_copy(folder, staging, number) for number, folder in enumerate(folders))
        known = {item.manifest_sha256 for item in items}
        index = Bundle(artifacts=items, measurements=tuple(row for row in medians if row.manifest_sha256 in known))
        index.write(staging / INDEX_FILE)
    return index


def _copy(folder: Path, staging: Path, number: int) -> BundledArtifact:
    manifest = read_artifact(folder)
    target = staging / f"{number:02d}-{manifest.format}-{manifest.precision}"
    files = (MANIFEST_FILE, *(file.path for file in manifest.files))
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, target / file)
    return BundledArtifact(
        folder=target.name,
        manifest_sha256=sha256_of_file(folder / MANIFEST_FILE),
        files=files,
        colours=_colours(manifest),
    )


def _colours(manifest: Manifest) -> tuple[str, ...]:
    """As the app reads them, e.g. "#28ace0"."""
    palette = PALETTES[manifest.task](len(manifest.class_names))
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in palette.tolist())


def read_medians(journal: Path) -> tuple[BundledMedian, ...]:
    """The latest row of each artifact, phone and number of threads: valid, at batch 1, measured inside the app.

    A last line that a crash cut off is passed over, as the report does.

    Raises:
        UsageError: no such journal, or a whole line that is not a measurement.
    """
    if not journal.is_file():
        raise UsageError(f"{journal} does not exist. Measure first: python -m bench ARTIFACT --device android")
    latest: dict[tuple[str, str, int], BundledMedian] = {}
    for number, line in enumerate(journal.read_bytes().splitlines(), start=1):
        row = _row(line, f"{journal} line {number}")
        if row is not None and _is_felt_on_a_phone(row):
            key = (row.subject.manifest_sha256, row.device.name, row.threads)
            latest[key] = BundledMedian(
                manifest_sha256=row.subject.manifest_sha256,
                device=row.device.name,
                threads=row.threads,
                median_ms=statistics.median(row.samples_ms),
                utc_time=row.utc_time,
            )
    return tuple(latest.values())


def _is_felt_on_a_phone(row: _Row) -> bool:
    device = row.device
    in_app = device.kind == "android" and device.instrument == "app" and not device.emulated
    return in_app and row.validity == "valid" and row.batch == 1 and bool(row.samples_ms)


def _row(line: bytes, source: str) -> _Row | None:
    try:
        json.loads(line)
    except ValueError:
        return None
    try:
        return _Row.model_validate_json(line)
    except ValidationError as error:
        raise UsageError(f"{source} is not a measurement that this toolkit knows: {explain(error)}.") from error
