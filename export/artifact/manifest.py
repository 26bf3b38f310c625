"""CONTRACT 2: what an exported model says of itself, `manifest.json` beside the model file."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, JsonValue, field_validator, model_validator

from distill.contract import Contract, Strict, sha256_of_file
from distill.errors import UsageError
from distill.vision.datasets import DatasetConfig
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS, TaskName
from export.artifact.answers import Answers

MANIFEST_FILE = "manifest.json"

FormatName = Literal[
    "eager",
    "torchscript",
    "executorch",
    "executorch-portable",
    "executorch-coreml",
    "executorch-vulkan",
    "onnx",
    "coreml",
    "litert",
]
"""`executorch` alone is the XNNPACK backend; the others name theirs."""
PrecisionName = Literal[
    "fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int16x8", "palette8", "palette6", "palette4"
]
"""`int8` has static ranges for activations; `int8-dynamic` finds them at run time; `int8-weights` computes in float;
`int16x8` has 16-bit activations; `paletteN` keeps weights as N-bit indices into a table of values."""
Verdict = Literal["pass", "open", "fail", "not-run"]
"""`open`: neither shown to keep its limit nor shown to lose more, on all the images there are."""
ANY_BATCH = -1
"""Stands for any batch in a shape."""


class ArtifactFile(Strict):
    """One file of an artifact; `path` is relative to the manifest and stays inside its folder.

    A model that is a folder (Core ML) is listed file by file.
    """

    path: str
    role: Literal["model", "golden-input", "golden-output"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if not value or path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
            raise ValueError(f"must be a relative path inside the artifact, found {value!r}")
        return value


class TensorSpec(Strict):
    """One input or output: `shape` includes the batch; -1 stands for any batch.

    `value_range` is what the caller must respect (input) or None where values are free (logits, metres). Answers for
    every pixel may be smaller than the picture, if the enlarging was left out; whoever reads them enlarges them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"]
    layout: Literal["NCHW", "NC"]
    value_range: tuple[float, float] | None

    @field_validator("shape")
    @classmethod
    def _batch_first(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) < 2 or min(value[1:]) < 1 or (value[0] < 1 and value[0] != ANY_BATCH):
            raise ValueError(f"must be a batch (-1 = any) and positive sizes, found {list(value)}")
        return value


class Calibration(Strict):
    """How activation ranges were found, on images chosen by `seed`.

    Attributes:
        source: `training`: the checkpoint's own training images, class-balanced; `folder`: the user's own images.
        calibrator: how a range was made of what was seen, e.g. "percentile 99.99".
        data_sha256: identity of everything the images were chosen from.
    """

    source: Literal["training", "folder"]
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

    @property
    def fell_back(self) -> bool:
        """Whether the backend did not take the whole graph in one piece; kernels asked for by name are no fall-back."""
        return self.backend != "portable" and (self.pieces != 1 or bool(self.undelegated))


class Parity(Strict):
    """The artifact against eager PyTorch on the same images, measured before the manifest was written.

    Attributes:
        verdict: `not-run` if this machine cannot run the format; then the numbers are None and `reason` says why.
        reason: what was judged, the value measured, and the limit, in words.
        judged_by, limit: what had to be at least `limit`: the share of equal predictions, or the artifact's accuracy as
            a share of eager's, or its quality where every pixel is answered; the latter two decide by `kept_interval`.
            None if it was not run.
        proven_by: what ran the model, e.g. "onnxruntime 1.22.0"; None if nothing did.
        images: `held-out` from the checkpoint's data, `folder` of the user's own, or `synthetic`.
        num_images: how many images were compared; more than asked for where fewer left the answer open.
        max_abs_difference, mean_abs_difference: of the logits.
        top1_agreement: share of images with the same predicted class, in [0, 1].
        accuracy, eager_accuracy: share of correct predictions on those images, in [0, 1]; None without labels. Of masks
            the share of the pixels, of depth that within a factor of 1.25.
        quality, eager_quality: by the task's measure: accuracy, mIoU in [0, 1], or the RMSE in metres; None without
            labels.
        accuracy_interval: 95 % confidence interval of `accuracy - eager_accuracy`, paired by image.
        kept_interval: `accuracy / eager_accuracy`, paired by image: either bound is on the wrong side of the truth with
            a probability of 0.025 on the first images, of 0.05 after however many times more were taken. None also for
            an eager model that is never right.
        confidence, eager_confidence: mean probability of the answers given, in [0, 1].
        calibration_error, eager_calibration_error: expected calibration error, 15 bins, in [0, 1]; None without labels.
        class_images: how many of the images are of each class, in the order of `class_names`; None without labels.
        class_correct, eager_class_correct: how many of those are answered rightly; a class's recall is their share.
        answers: which images are answered rightly, to compare with any other model that answered them; None without
            labels.

    What stands behind `accuracy_interval` came with schema version 5, quality with version 6: None in manifests written
    before.
    """

    verdict: Verdict
    reason: str
    judged_by: Literal["agreement", "accuracy", "quality"] | None
    limit: float | None
    proven_by: str | None
    images: Literal["held-out", "folder", "synthetic"]
    num_images: int
    max_abs_difference: float | None
    mean_abs_difference: float | None
    top1_agreement: float | None
    accuracy: float | None
    eager_accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    kept_interval: tuple[float, float] | None
    confidence: float | None
    eager_confidence: float | None
    calibration_error: float | None
    eager_calibration_error: float | None
    class_images: tuple[int, ...] | None
    class_correct: tuple[int, ...] | None
    eager_class_correct: tuple[int, ...] | None
    answers: Answers | None
    quality: float | None
    eager_quality: float | None


SINCE_VERSION_5 = (
    "kept_interval",
    "confidence",
    "eager_confidence",
    "calibration_error",
    "eager_calibration_error",
    "class_images",
    "class_correct",
    "eager_class_correct",
    "answers",
)
"""Keys of `Parity` that version 4 did not have."""

SINCE_VERSION_6 = ("quality", "eager_quality")
"""Keys of `Parity` that version 5 did not have."""


class Manifest(Contract):
    """Everything an app, a bench or a person needs to know of an exported model.

    Attributes:
        inputs_sha256: identity of everything this was made from; see `export.run.reuse`.
        scheme: how the precision was reached, in words, e.g. "int8 weights per channel, int8 activations, static".
        recipe: the quantizer's settings, as `export.quantize.recipe` writes them; None without quantization.
        task: what the model answers; `classification` in manifests before version 6.
        macs: multiply-accumulate operations for one image, in convolutions and matrix products (`distill.vision.macs`).
        temperature: the logits are divided by it, inside the graph.
        checkpoint_sha256: weights hash of the card this came from; `teacher_sha256` that of the student's teacher.
        dataset: where the held-out images come from; None for a model brought without data.
        allowed_loss: the user asked for it although it fails its limits.
        notes: what else a user of the file has to know, one sentence each.
        versions: of the toolchain that wrote the file.
        minimum_runtime: oldest runtime known to load it, e.g. "onnxruntime 1.20"; None if unknown.
    """

    SCHEMA_VERSION: ClassVar[int] = 7

    schema_version: Literal[7] = 7
    inputs_sha256: str
    format: FormatName
    precision: PrecisionName
    scheme: str
    recipe: dict[str, JsonValue] | None
    files: tuple[ArtifactFile, ...]
    task: TaskName
    model: str
    num_parameters: int
    macs: int
    checkpoint_sha256: str
    teacher_sha256: str | None
    method: str | None
    class_names: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    dataset: DatasetConfig | None
    input: TensorSpec
    output: TensorSpec
    calibration: Calibration | None
    delegation: Delegation | None
    parity: Parity
    allowed_loss: bool
    notes: tuple[str, ...]
    versions: dict[str, str]
    minimum_runtime: str | None

    @field_validator("files")
    @classmethod
    def _has_a_model(cls, value: tuple[ArtifactFile, ...]) -> tuple[ArtifactFile, ...]:
        if not any(file.role == "model" for file in value):
            raise ValueError("must name at least one file with the role model")
        if len({file.path for file in value}) != len(value):
            raise ValueError("must not name a path twice")
        return value

    @model_validator(mode="after")
    def _tensors_fit(self) -> "Manifest":
        answer = TASKS[self.task].output_shape(len(self.class_names), self.preprocess.size_px)
        expected = (self.preprocess.input_shape, answer)
        shapes = (self.input.shape[1:], self.output.shape[1:])
        # Answers for pixels may be smaller, never larger.
        fits = len(shapes[1]) == len(answer) and all(
            side <= whole for side, whole in zip(shapes[1][1:], answer[1:], strict=True)
        )
        if shapes[0] != expected[0] or not fits or shapes[1][0] != answer[0]:
            raise ValueError(
                f"input and output must be {expected} behind the batch, by preprocess and class_names; found {shapes}"
            )
        return self

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A manifest of an older version has the keys that came later, and knows nothing of them.

        Before version 6 all classified; before version 7 pictures were resized bilinearly and no share was cut.
        """
        parity, version = raw.get("parity"), raw.get("schema_version")
        if version not in (4, 5, 6) or not isinstance(parity, dict):
            return raw
        came = (*(SINCE_VERSION_5 if version == 4 else ()), *(SINCE_VERSION_6 if version < 6 else ()))
        known = cast("dict[str, Any]", parity)
        return {"task": "classification"} | raw | {"schema_version": 7, "parity": dict.fromkeys(came) | known}

    @property
    def share_right(self) -> float | None:
        """Quality as a share in [0, 1], the more the better: accuracy, of masks the mIoU; None without labels.

        Of depth it is the share of the pixels within a factor of 1.25.
        """
        return self.parity.quality if TASKS[self.task].measure.name == "miou" else self.parity.accuracy

    @property
    def answers_small(self) -> bool:
        """Whether every pixel is answered, in a map that is smaller than the picture."""
        return self.output.shape[2:] != TASKS[self.task].output_shape(1, self.preprocess.size_px)[1:]

    @property
    def size_bytes(self) -> int:
        """Bytes of the model itself, without golden input and output."""
        return sum(file.size_bytes for file in self.files if file.role == "model")

    def file(self, role: Literal["model", "golden-input", "golden-output"]) -> str:
        """Relative path of the first file of a role; raises UsageError if there is none."""
        for file in self.files:
            if file.role == role:
                return file.path
        raise UsageError(f"this {self.format} artifact has no {role} file. Export it again.")


def read_artifact(folder: Path) -> Manifest:
    """Read a manifest and verify every file it names by size and SHA-256. Nothing outside `folder` is read.

    Raises:
        UsageError: no manifest, a manifest that is not valid, or a missing or changed file.
    """
    path = folder / MANIFEST_FILE
    if not _is_file_inside(folder, path):
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
    if not _is_file_inside(folder, path):
        raise UsageError(
            f"{folder} is incomplete: its manifest names {file.path!r}, which is not there. Export it again."
        )
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        raise UsageError(
            f"{path} was changed after it was exported: it has {size_bytes} bytes, the manifest says "
            f"{file.size_bytes}. Export it again."
        )
    sha256 = sha256_of_file(path)
    if sha256 != file.sha256:
        raise UsageError(
            f"{path} was changed after it was exported: SHA-256 is {sha256[:12]}…, the manifest says "
            f"{file.sha256[:12]}…. Export it again."
        )


def _is_file_inside(folder: Path, path: Path) -> bool:
    """Whether `path` is a regular file that no link leads out of `folder`."""
    try:
        return path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name the file system cannot hold, a loop of links
        return False
