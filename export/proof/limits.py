"""What an artifact must reach to pass, by precision."""

from dataclasses import dataclass
from typing import Literal

from export.artifact.manifest import PrecisionName

FLOAT_MIN_AGREEMENT: dict[PrecisionName, float] = {"fp32": 1.0, "fp16": 0.999}
QUANTIZED_MIN_ACCURACY_KEPT = 0.99
QUANTIZED_MIN_AGREEMENT = 0.97
"""Where there are no labels to measure accuracy with."""


@dataclass(frozen=True)
class Limit:
    """`agreement`: at least this share of eager's answers; `accuracy`: at least this share of eager's accuracy."""

    judged_by: Literal["agreement", "accuracy"]
    at_least: float


def limit(precision: PrecisionName, *, has_labels: bool) -> Limit:
    """What a precision is judged by: floats by agreement; what is quantized by accuracy, else by agreement."""
    if precision in FLOAT_MIN_AGREEMENT:
        return Limit("agreement", FLOAT_MIN_AGREEMENT[precision])
    if has_labels:
        return Limit("accuracy", QUANTIZED_MIN_ACCURACY_KEPT)
    return Limit("agreement", QUANTIZED_MIN_AGREEMENT)
