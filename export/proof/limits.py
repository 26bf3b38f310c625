"""What an artifact must reach to pass, by precision, and how sure the measured accuracy is."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.artifact.manifest import PrecisionName

FLOAT_MIN_AGREEMENT: dict[PrecisionName, float] = {"fp32": 1.0, "fp16": 0.999}
QUANTIZED_MIN_ACCURACY_KEPT = 0.99
QUANTIZED_MIN_AGREEMENT = 0.97
"""Where there are no labels to measure accuracy with."""

Z_95 = 1.959963984540054


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


def paired_interval(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval of `mean(ours) - mean(theirs)` of answers to the same images, right (True) or wrong.

    Newcombe's square-and-add interval for paired proportions (method 10 of doi:10.1002/(SICI)1097-0258(19981130)17:22
    <2635::AID-SIM954>3.0.CO;2-C): Wilson's intervals of both shares, joined by their correlation. Unlike a bootstrap it
    has a width when no answer differs.

    Args:
        ours: bool [N], N > 0.
        theirs: bool [N], of the same images in the same order.
    """
    n = len(ours)
    both, only_ours = int((ours & theirs).sum()), int((ours & ~theirs).sum())
    only_theirs, neither = int((~ours & theirs).sum()), int((~ours & ~theirs).sum())
    p1, p2 = (both + only_ours) / n, (both + only_theirs) / n
    (l1, u1), (l2, u2) = _wilson(both + only_ours, n), _wilson(both + only_theirs, n)
    phi = _correlation(both, only_ours, only_theirs, neither)
    difference = p1 - p2
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    return max(-1.0, difference - math.sqrt(max(below, 0.0))), min(1.0, difference + math.sqrt(max(above, 0.0)))


def _wilson(successes: int, n: int) -> tuple[float, float]:
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return centre - half, centre + half


def _correlation(a: int, b: int, c: int, d: int) -> float:
    """Phi of a 2x2 table, its numerator corrected towards 0 by n/2 where it is positive; 0 for an empty margin."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    numerator = a * d - b * c
    if numerator > 0:
        numerator = max(numerator - (a + b + c + d) / 2, 0.0)
    return numerator / math.sqrt(margins)
