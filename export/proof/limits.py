"""What an artifact must reach to pass, by precision."""

from dataclasses import dataclass
from typing import Literal

from distill.vision.tasks import TaskName
from export.artifact.manifest import PrecisionName

FLOAT_MIN_AGREEMENT: dict[PrecisionName, float] = {"fp32": 1.0, "fp16": 0.999}
"""Of the answers that are no near ties (`export.proof.logits`)."""

FLOAT_MAX_DIFFERENCE: dict[PrecisionName, float] = {"fp32": 1e-3, "fp16": 0.4}
"""How far a logit may be from eager's, as a share of the spread of eager's logits from image to image. Trained mobile
networks differ by some 1e-5 of it in fp32 and by 0.04 in fp16; without training, which amplifies rounding, by 4e-5 and
0.2. A toolchain that computes something else (half a pixel, a lost factor) differs by 0.02 and more."""

FLOAT_ROUNDING: dict[PrecisionName, float] = {"fp32": 1e-5, "fp16": 1e-2}
"""What rounding alone may do to a logit, as a share of the largest one, where the images hardly move the logits."""

QUANTIZED_MIN_ACCURACY_KEPT = 0.99
QUANTIZED_MIN_AGREEMENT = 0.97
"""Where there are no labels to measure accuracy with."""


@dataclass(frozen=True)
class Limit:
    """`agreement`: at least this share of eager's answers; `accuracy`, `quality`: at least this share of eager's."""

    judged_by: Literal["agreement", "accuracy", "quality"]
    at_least: float


QUANTIZED_MIN_AGREEMENT_BESIDE: dict[TaskName, float] = {"classification": QUANTIZED_MIN_AGREEMENT}
"""What a recipe of the doctor must keep beside the quality; of pixels the quality alone decides."""

QUANTIZED_MIN_QUALITY_KEPT: dict[TaskName, float] = {"segmentation": 0.99, "depth": 1 / 1.02}
"""mIoU as a share of eager's; of depth eager's RMSE as a share of the artifact's, which may be 1.02 times as large."""


def limit(precision: PrecisionName, *, has_labels: bool, task: TaskName = "classification") -> Limit:
    """What a precision is judged by: floats by agreement; what is quantized by quality, else by agreement."""
    if precision in FLOAT_MIN_AGREEMENT:
        return Limit("agreement", FLOAT_MIN_AGREEMENT[precision])
    if has_labels and task in QUANTIZED_MIN_QUALITY_KEPT:
        return Limit("quality", QUANTIZED_MIN_QUALITY_KEPT[task])
    if has_labels:
        return Limit("accuracy", QUANTIZED_MIN_ACCURACY_KEPT)
    return Limit("agreement", QUANTIZED_MIN_AGREEMENT)
