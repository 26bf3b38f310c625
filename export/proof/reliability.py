"""How sure a classifier is of its answers, and how rightly so."""

import numpy as np
from numpy.typing import NDArray

from export.artifact.runner import Batch

BINS = 15


def confidences(logits: Batch) -> NDArray[np.float64]:
    """Probability of each answer, float64 [N] in (0, 1], from logits [N, classes]."""
    scores = logits.astype(np.float64)
    return 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: |accuracy - mean confidence| of each bin, weighted by its images; in [0, 1].

    Guo et al., https://arxiv.org/abs/1706.04599, equation 3, with bins of equal width that hold their upper edge. It is
    torchmetrics' figure (tested) without its imports, which every worker would wait for.

    Args:
        confidence: float64 [N] in (0, 1].
        correct: bool [N], of the same images.
    """
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(number, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
