"""Right and wrong answers of two models to the same images: how far apart their accuracies are, and how surely."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054

FIRST_ERROR = 0.025
"""Probability that a bound of the interval lies on the wrong side of the truth, when it is looked at first.

Each time more images are taken the error halves: together some 0.05 at most, however often that happens; of *lost*
0.053 was seen in simulation."""

_SMALLEST_SHARE, _LARGEST_SHARE = 1e-4, 1e4
_HALVINGS = 60


@dataclass(frozen=True)
class Paired:
    """How many images both models answer rightly, only ours, only theirs, and neither; integers or arrays of them."""

    both: NDArray[np.int64]
    only_ours: NDArray[np.int64]
    only_theirs: NDArray[np.int64]
    neither: NDArray[np.int64]

    @property
    def num_images(self) -> NDArray[np.int64]:
        """How many images both have answered."""
        return self.both + self.only_ours + self.only_theirs + self.neither

    @classmethod
    def count(cls, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> "Paired":
        """From answers to the same images in the same order, right (True) or wrong: bool [N]."""
        cells = (ours & theirs, ours & ~theirs, ~ours & theirs, ~ours & ~theirs)
        return cls(*(np.asarray(cell.sum()) for cell in cells))


def share_score(counts: Paired, share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Score statistic of the hypothesis that our accuracy is `share` times theirs.

    Standard normal where that is true, positive where we keep more. The variance is that of the likeliest cells under
    the hypothesis, so that it is right also where hardly an answer differs (Nam and Blackwelder, Statistics in Medicine
    21 (2002), 689; Tang, Tang and Chan, Statistics in Medicine 22 (2003), 1217). 0 where neither is ever right.

    Args:
        counts: of one comparison, or arrays of many.
        share: above 0.
    """
    a, b, c = (np.asarray(cell, dtype=np.float64) for cell in (counts.both, counts.only_ours, counts.only_theirs))
    n = a + b + c + counts.neither
    right = a + b + c
    quadratic = n * (1 + share)
    linear = (a + c) * share**2 - (a + b + 2 * c)
    constant = c * (1 - share) * right / n
    root = np.sqrt(np.maximum(linear**2 - 4 * quadratic * constant, 0.0))
    only_theirs = (-linear + root) / (2 * quadratic)
    both = (right / n - (1 + share) * only_theirs) / share
    variance = n * share * ((share - 1) * both + (1 + share) * only_theirs)
    difference = (a + b) - share * (a + c)
    return np.divide(difference, np.sqrt(np.maximum(variance, 0.0)), out=np.zeros_like(difference), where=variance > 0)


def share_interval(counts: Paired, *, error: float = FIRST_ERROR) -> tuple[float, float] | None:
    """Shares of their accuracy that ours may be: all that `share_score` does not reject at `error` on either side.

    Returns:
        None if they are never right.
    """
    if counts.both + counts.only_theirs == 0:
        return None
    score = exceeded_with(error)
    return _crossing(counts, score), _crossing(counts, -score)


def exceeded_with(probability: float) -> float:
    """What a standard normal variable exceeds with this probability."""
    return NormalDist().inv_cdf(1 - probability)


def _crossing(counts: Paired, score: float) -> float:
    """The share at which the score, which falls as the share grows, has a value."""
    low, high = math.log(_SMALLEST_SHARE), math.log(_LARGEST_SHARE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if share_score(counts, math.exp(middle)) > score:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


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
