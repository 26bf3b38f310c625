"""A network with random weights becomes a checkpoint: to time it before anybody trains it."""

from pathlib import Path

import torch

from distill import checkpoint
from distill.errors import UsageError
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from export.networks.brought import full_name

SEED = 0
"""Of the weights, so that the same network is the same checkpoint and its artifacts are not made twice."""


def make_untrained(model: str, num_classes: int, preprocess: Preprocess, folder: Path) -> None:
    """Write a freshly initialised network as a checkpoint without training data into `folder`.

    Its accuracy is unknown, and stays so in the manifests and measurements of its artifacts.

    Raises:
        UsageError: an unknown network, or one that does not answer an image of this size with finite logits.
        WorkFailed: full disk or unwritable folder.
    """
    name = full_name(model)
    torch.manual_seed(SEED)
    network = build(name, num_classes=num_classes, preprocess=preprocess).eval()
    try:
        with torch.inference_mode():
            logits = network(torch.full((1, *preprocess.input_shape), 0.5))
    except Exception as error:
        size = preprocess.size_px
        raise UsageError(f"{model} fails on a 3x{size}x{size} image: {type(error).__name__}: {error}") from error
    if logits.shape != (1, num_classes) or not logits.isfinite().all():
        raise UsageError(f"{model} answers one image with {list(logits.shape)}; expected [1, {num_classes}], finite.")
    class_names = tuple(f"class {number}" for number in range(num_classes))
    checkpoint.save(folder, network, name=name, class_names=class_names, preprocess=preprocess, training=None)
