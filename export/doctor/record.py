"""What the doctor found, as `doctor.json` keeps it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from distill.contract import Contract, Strict
from distill.vision.tasks import TaskName
from export.artifact.manifest import SINCE_VERSION_5, SINCE_VERSION_6, FormatName, Parity
from export.quantize.recipe import HoldOutIdentity, QuantizationRecipe

DIAGNOSIS_FILE = "doctor.json"

Share = Annotated[float, Field(ge=0, le=1)]
StepName = Literal["per-channel", "calibrators", "float-layers", "weight-corrections"]
Outcome = Literal["faster", "not-faster", "loses-too-much", "failed"]
"""`faster`: a scheme meets the limits and is faster than fp32; `not-faster`: one meets the limits, and none of those
was shown to be faster; `loses-too-much`: none meets the limits; `failed`: the toolchain broke down."""


class LayerSensitivity(Strict):
    """What quantizing one layer alone does to the answers.

    Attributes:
        layer: dotted name, as `float_layers` takes it.
        sqnr_db: signal to quantization noise of the logits, their mean over the classes taken off, in decibel; the
            lower, the more sensitive. Of depth that of the metres.
        top1_agreement: share of images, or of their pixels, with the same answer as in float.
        num_weights: of the layer.
    """

    layer: str
    sqnr_db: float
    top1_agreement: Share
    num_weights: int


class Speed(Strict):
    """Interleaved timing against fp32 in the same runtime and process, batch 1, one thread.

    Attributes:
        ratio: median over rounds of (time of fp32 / time of this); above 1 is faster.
        interval: 95 % confidence interval of that median.
        latency_ms, fp32_latency_ms: medians of each.
    """

    ratio: float
    interval: tuple[float, float]
    latency_ms: float
    fp32_latency_ms: float

    @property
    def faster(self) -> bool:
        """Whether the whole interval is above 1."""
        return self.interval[0] > 1


class Trial(Strict):
    """One recipe in one format, measured on the hold-out.

    Attributes:
        quality, eager_quality: by the task's measure: accuracy and mIoU in [0, 1], RMSE in metres; None where the
            answers were not finite.
        quality_kept: as a share of eager's, 1 is as good, below 1 is worse, whichever direction is better.
        kept_interval: 95 % interval of that, by image; None where eager has no quality to keep.
        accuracy_interval: 95 % interval of accuracy - eager's, paired by image; None where pixels are answered.
        mean_abs_difference: of the logits, from eager's.
        size_bytes: of the model; `size_share` of fp32's.
        pieces: delegate pieces; None where the format has no such notion.
        undelegated: operations left to the portable kernels.
        meets_limits: enough quality kept and enough answers unchanged.
        seconds: what it took to convert, run and time.
    """

    recipe: QuantizationRecipe
    quality: float | None
    eager_quality: float | None
    quality_kept: float
    kept_interval: tuple[float, float] | None
    accuracy_interval: tuple[float, float] | None
    top1_agreement: Share
    mean_abs_difference: float
    size_bytes: int
    size_share: float
    pieces: int | None
    undelegated: int
    speed: Speed
    meets_limits: bool
    seconds: float

    @property
    def solves(self) -> bool:
        """Meets the limits and is faster than fp32."""
        return self.meets_limits and self.speed.faster


class Step(Strict):
    """One step of the escalation: everything it tried, and the index of the trial it ends with."""

    name: StepName
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    best: Annotated[int, Field(ge=0)]

    @property
    def chosen(self) -> Trial:
        """The trial that the step ends with."""
        return self.trials[self.best]


class FormatDiagnosis(Strict):
    """The escalation of one format and its verdict.

    Attributes:
        reason: the outcome in words.
        chosen: the cheapest scheme by `outcome`; None if it loses too much or failed.
        recipe_file: beside `doctor.json`, for `--recipe`; None without a scheme.
        export_command: applies it.
        reported: the chosen scheme on the validation images, which no choice saw; None without a scheme.
    """

    format: FormatName
    outcome: Outcome
    reason: str
    steps: tuple[Step, ...]
    chosen: Trial | None
    recipe_file: str | None
    export_command: str | None
    reported: Parity | None


class Diagnosis(Contract):
    """Everything `python -m export doctor` found out about a checkpoint.

    Attributes:
        task: what the model answers.
        checkpoint_sha256: weights hash of its card.
        hold_out: the images on which every choice was made.
        num_calibration: images that ranges were found with; `seed` chose them and the hold-out.
        min_quality_kept, min_agreement: the limits on the hold-out.
        layers: all weighted layers, the most sensitive first.
        advice: what to do where no scheme is good enough, one command or sentence each.
        versions: of the packages that decide the figures.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    model: str
    task: TaskName
    checkpoint_sha256: str
    hold_out: HoldOutIdentity
    num_calibration: int
    seed: int
    min_quality_kept: float
    min_agreement: float
    layers: tuple[LayerSensitivity, ...]
    formats: tuple[FormatDiagnosis, ...]
    advice: tuple[str, ...]
    versions: dict[str, str]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Of version 1 all classified, and quality was the accuracy."""
        if raw.get("schema_version") != 1:
            return raw
        formats = [_with_quality(each) for each in raw.get("formats", ())]
        row = _renamed(raw, {"min_accuracy_kept": "min_quality_kept"})
        return {"task": "classification"} | row | {"schema_version": 2, "formats": formats}


def _with_quality(of_format: dict[str, Any]) -> dict[str, Any]:
    names = {"accuracy": "quality", "eager_accuracy": "eager_quality", "accuracy_kept": "quality_kept"}

    def trial(old: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if old is None else {"kept_interval": None} | _renamed(old, names)

    steps = [step | {"trials": [trial(each) for each in step["trials"]]} for step in of_format["steps"]]
    reported = of_format["reported"]
    later = dict.fromkeys((*SINCE_VERSION_5, *SINCE_VERSION_6))
    return of_format | {
        "steps": steps,
        "chosen": trial(of_format["chosen"]),
        "reported": None if reported is None else later | reported,
    }


def _renamed(record: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in record.items()}
