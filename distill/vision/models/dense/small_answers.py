"""Answers at the size of the map that they are read from: the enlarging at a network's end is left out."""

import torch

from distill.errors import UsageError
from distill.vision.models import ImageClassifier
from distill.vision.models.dense.network import DenseNetwork


def leave_small(model: ImageClassifier, input_shape: tuple[int, int, int]) -> None:
    """Let a model in eval mode answer so from now on.

    Args:
        model: its network is changed, its parameters are not.
        input_shape: (C, H, W) of one picture.

    Raises:
        UsageError: a network that answers for the picture, enlarges on the way rather than at its end, or answers at
            the picture's size without that.
    """
    network = model.network
    if not isinstance(network, DenseNetwork):
        raise UsageError(
            "only networks of distill.vision.models.dense know how to leave out the enlarging at their end; this one "
            "is another. Export it without --low-resolution."
        )
    network.leave_small()
    with torch.no_grad():
        height, width = model(torch.full((1, *input_shape), 0.5)).shape[2:]
    if (height, width) == input_shape[1:]:
        raise UsageError(
            f"{type(network).__name__} reads its answers from a map of the picture's size, {height} x {width}: there "
            "is no enlarging to leave out. Export it without --low-resolution."
        )
