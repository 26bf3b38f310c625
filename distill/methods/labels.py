"""The label loss that every method takes."""

import torch.nn.functional as F
from torch import Tensor

from distill.methods.precision import at_least_float32


def label_loss(logits: Tensor, aim: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy with the labels in nats, >= 0, in float32 (or wider).

    Args:
        logits: [B, classes].
        aim: labels, int64 [B], each a class; or targets, float [B, classes] >= 0.
        reduction: `mean` over the batch, or `none` for one value per image, [B].
    """
    return F.cross_entropy(at_least_float32(logits), aim, reduction=reduction)
