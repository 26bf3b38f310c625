"""From raw factors to weights of pathways: the five normalisations of the paper's Table 7."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Normalisation = Literal["biased_softmax", "softmax", "biased_l1", "l1", "sigmoid"]

BIAS = 1.0
"""g of the paper's Eq. 2, and what stands beside the factors in the biased forms."""


def normalised(raw: Tensor, how: Normalisation) -> Tensor:
    """Weights of L pathways, [L], from raw factors [L].

    Both softmaxes give weights > 0; of the plain one the sum is 1, of the biased one less, since the constant has its
    share. The l1 forms keep signs. Deviation: the sigmoid is divided by L, so that all five give weights whose sum is
    near 1 at the start and one factor serves them all.

    Args:
        raw: finite.
        how: `biased_softmax` is the paper's choice.
    """
    match how:
        case "biased_softmax":
            return F.pad(raw, (0, 1), value=BIAS).softmax(0)[:-1]
        case "softmax":
            return raw.softmax(0)
        case "biased_l1":
            return raw / (raw.abs().sum() + BIAS)
        case "l1":
            return raw / raw.abs().sum().clamp_min(torch.finfo(raw.dtype).tiny)
        case "sigmoid":
            return raw.sigmoid() / len(raw)
