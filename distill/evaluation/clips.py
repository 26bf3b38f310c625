"""Quality of a classifier of recordings: per frame, per clip, and how sure either figure is of new patients."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.checkpoint import Metrics
from distill.evaluation.evaluate import metrics
from distill.vision.datasets import Split

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quality:
    """Of all frames, or of all clips, of a split.

    Attributes:
        unit: what is counted: "images", "frames" or "clips".
        count: how many there are.
        metrics: over all of them.
        patients: how many there are; None where they are not known.
        accuracy_interval: 95 % interval of the accuracy on patients like these, in [0, 1]; None where they are not
            known, or where there is only one.
    """

    unit: str
    count: int
    metrics: Metrics
    patients: int | None
    accuracy_interval: tuple[float, float] | None


def qualities(logits: Tensor, split: Split, *, epoch: int) -> tuple[Quality, ...]:
    """Of the images of a split and, where they are frames of clips, of its clips, whose logits are means of theirs.

    Args:
        logits: [N, classes] of the split's images, in order.
        split: they are of.
        epoch: named in the metrics.

    Raises:
        WorkFailed: logits that are not finite.
    """
    labels = torch.from_numpy(split.labels).to(logits.device)
    unit = "images" if split.clips is None else "frames"
    by_unit = [_quality(unit, logits, labels, split.groups, epoch)]
    if split.clips is not None:
        first, clip_of = np.unique(split.clips, return_index=True, return_inverse=True)[1:]
        groups = None if split.groups is None else split.groups[first]
        means = mean_of_clips(logits, torch.from_numpy(clip_of).to(logits.device))
        by_unit.append(_quality("clips", means, labels[torch.from_numpy(first).to(labels.device)], groups, epoch))
    return tuple(by_unit)


def mean_of_clips(logits: Tensor, clips: Tensor) -> Tensor:
    """Means [clips, classes] of logits [N, classes] over frames of one clip; `clips` int64 [N] counts from 0."""
    sums = logits.new_zeros(int(clips.max()) + 1, logits.shape[1]).index_add_(0, clips, logits)
    return sums / torch.bincount(clips)[:, None]


def share_interval(right: NDArray[np.bool_], patients: NDArray[np.int64]) -> tuple[float, float] | None:
    """95 % interval of a share among things that belong to patients; None for a single patient.

    Things of one patient are alike, so they count for fewer than they are: exact binomial limits with the effective
    number that the variance between patients leaves, corrected for its degrees of freedom (Korn and Graubard 1998,
    Survey Methodology 24, 193). Where nothing differs, a patient counts for one.

    Args:
        right: [N], what the share is of.
        patients: int64 [N].
    """
    from scipy.stats import beta, t  # takes a second

    _, number = np.unique(patients, return_inverse=True)
    count, total = int(number.max()) + 1, len(right)
    if count < 2:
        return None
    share = float(right.mean())
    excess = np.bincount(number, weights=right - share)
    variance = count / (count - 1) * float((excess**2).sum()) / total**2
    effective = float(count)
    if variance > 0:
        middle = (1 + CONFIDENCE) / 2
        corrected = share * (1 - share) / variance * (t.ppf(middle, max(total - 1, 1)) / t.ppf(middle, count - 1)) ** 2
        effective = min(corrected, total)
    hits, tail = share * effective, (1 - CONFIDENCE) / 2
    low = 0.0 if share == 0 else float(beta.ppf(tail, hits, effective - hits + 1))
    high = 1.0 if share == 1 else float(beta.ppf(1 - tail, hits + 1, effective - hits))
    return low, high


def _quality(unit: str, logits: Tensor, labels: Tensor, groups: NDArray[np.int64] | None, epoch: int) -> Quality:
    right = (logits.argmax(dim=1) == labels).cpu().numpy()
    return Quality(
        unit,
        len(labels),
        metrics(logits, labels, epoch=epoch),
        None if groups is None else len(np.unique(groups)),
        None if groups is None else share_interval(right, groups),
    )
