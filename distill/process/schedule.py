"""A process over a run of any length: interpolated, normalised, and without the pathways that hardly weigh."""

from collections.abc import Sequence

import torch

from distill.process.normalisation import Normalisation, normalised


def interpolated(raw: Sequence[Sequence[float]], progress: float) -> list[float]:
    """The raw factors at a moment, linear between the rows.

    Args:
        raw: rows of L factors; the first is the begin's, the last the end's.
        progress: share of the run that lies behind, in [0, 1].
    """
    position = progress * (len(raw) - 1)
    before = min(int(position), len(raw) - 1)
    after = min(before + 1, len(raw) - 1)
    share = position - before
    return [first + (second - first) * share for first, second in zip(raw[before], raw[after], strict=True)]


def weights_above(raw: Sequence[float], threshold: float, how: Normalisation) -> dict[int, float]:
    """Pathway (counted from 0) -> weight, of those whose raw factor is above the threshold.

    A factor that is not counts as much as the threshold where the weights are normalised, so that the others weigh
    what they would weigh beside it (the paper clips the factors and leaves out what was clipped).
    """
    clipped = torch.tensor(raw, dtype=torch.float64).clamp_min(threshold)
    weights = normalised(clipped, how).tolist()
    return {number: weights[number] for number, factor in enumerate(raw) if factor > threshold}
