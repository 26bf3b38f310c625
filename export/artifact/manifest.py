"""CONTRACT 2: what an exported model says of itself, `manifest.json` beside the model file."""

from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import field_validator

from distill.contract import Contract, Strict, sha256_of_file
from distill.errors import UsageError
from distill.vision.datasets import DatasetConfig
from distill.vision.preprocess import Preprocess

MANIFEST_FILE = "manifest.json"

FormatName = Literal["eager", "torchscript", "executorch", "onnx", "coreml", "litert"]
PrecisionName = Literal[
    "fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int16x8", "palette8", "palette6", "palette4"
]
"""`int8` has static ranges for activations; `int8-dynamic` finds them at run time; `int8-weights` computes in float;
`int16x8` has 16-bit activations; `paletteN` keeps weights as N-bit indices into a table of values."""
Verdict = Literal["pass", "fail", "not-run"]


class ArtifactFile(Strict):
    """One file of an artifact; `path` is relative to the manifest and stays inside its folder.

    A model that is a folder (Core ML) is listed file by file.
    """

    path: str
    role: Literal["model", "golden-input", "golden-output"]
    sha256: str
    size_bytes: int

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if not value or path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
            raise ValueError(f"must be a relative path inside the artifact, found {value!r}")
        return value


class TensorSpec(Strict):
    """One input or output: `shape` includes the batch; -1 stands for any batch.

    `value_range` is what the caller must respect (input) or None where values are free (logits).
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"]
    layout: Literal["NCHW", "NC"]
    value_range: tuple[float, float] | None


class Calibration(Strict):
    """How activation ranges were found: only training images, class-balanced, chosen by `seed`."""

    calibrator: str
    num_images: int
    seed: int
    data_sha256: str


class Delegation(Strict):
    """How much of the graph the accelerated backend took.

    `pieces` = delegate subgraphs (1 is best); `undelegated` counts the operations left to the portable kernels.
    """

    backend: str
    pieces: int
    undelegated: dict[str, int]


class Parity(Strict):
    """The artifact against eager PyTorch on the same held-out images, measured before the manifest was written.

    Attributes:
        verdict: `not-run` if this machine cannot run the format; then the numbers are None and `reason` says why.
        num_images: how many held-out images were compared.
        max_abs_difference, mean_abs_difference: of the logits.
        top1_agreement: share of images with the same predicted class, in [0, 1].
        accuracy, eager_accuracy: share of correct predictions on those images, in [0, 1].
    """

    verdict: Verdict
    reason: str
    num_images: int
    max_abs_difference: float | None
    mean_abs_difference: float | None
    top1_agreement: float | None
    accuracy: float | None
    eager_accuracy: float | None


class Manifest(Contract):
    """Everything an app, a bench or a person needs to know of an exported model.

    Attributes:
        scheme: how the precision was reached, in words, e.g. "int8 weights per channel, int8 activations, static".
        checkpoint_sha256: weights hash of the card this came from; `teacher_sha256` that of the student's teacher.
        dataset: where the held-out images come from; None for a model brought without data.
        versions: of the toolchain that wrote the file.
        minimum_runtime: oldest runtime known to load it, e.g. "onnxruntime 1.20"; None if unknown.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    format: FormatName
    precision: PrecisionName
    scheme: str
    files: tuple[ArtifactFile, ...]
    model: str
    num_parameters: int
    checkpoint_sha256: str
    teacher_sha256: str | None
    method: str | None
    class_names: tuple[str, ...]
    preprocess: Preprocess
    dataset: DatasetConfig | None
    input: TensorSpec
    output: TensorSpec
    calibration: Calibration | None
    delegation: Delegation | None
    parity: Parity
    versions: dict[str, str]
    minimum_runtime: str | None

    @property
    def size_bytes(self) -> int:
        """Bytes of the model itself, without golden input and output."""
        return sum(file.size_bytes for file in self.files if file.role == "model")

    def file(self, role: Literal["model", "golden-input", "golden-output"]) -> str:
        """Relative path of the first file of a role."""
        return next(file.path for file in self.files if file.role == role)


def read_artifact(folder: Path) -> Manifest:
    """Read a manifest and verify every file it names by size and SHA-256.

    Raises:
        UsageError: no manifest, a manifest that is not valid, or a missing or changed file.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UsageError(
            f"{folder} is not an artifact: there is no {MANIFEST_FILE} in it. "
            "Make one with: python -m export CHECKPOINT --format all"
        )
    manifest = Manifest.read(path)
    for file in manifest.files:
        _verify(folder, file)
    return manifest


def _verify(folder: Path, file: ArtifactFile) -> None:
    path = folder / file.path
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{folder} is incomplete: its manifest names {file.path}, which is not there. Export it again."
        )
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        raise UsageError(
            f"{path} was changed after it was exported: it has {size_bytes} bytes, the manifest says "
            f"{file.size_bytes}. Export it again."
        )
    found = sha256_of_file(path)
    if found != file.sha256:
        raise UsageError(
            f"{path} was changed after it was exported: SHA-256 is {found[:12]}…, the manifest says "
            f"{file.sha256[:12]}…. Export it again."
        )
