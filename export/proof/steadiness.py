"""Networks whose answer to a picture is not theirs alone are refused by name, before anything is made of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.preprocess import Preprocess
from export.graph.watch import draws_of_chance

PROBES = 4
"""Pictures that a network is asked about."""

TOLERANCE = 1e-3
"""Of the largest logit: batches of another size are summed in another order."""


def require_steady(model: nn.Module, images: NDArray[np.uint8], preprocess: Preprocess, *, name: str) -> None:
    """Raise UsageError if answers change from call to call, or with the other pictures of a batch.

    Args:
        model: in eval mode, pixels in [0, 1] to logits.
        images: uint8 [N, H, W, C]; a batch of one shows nothing of neighbours and is filled up with its mirror image.
        preprocess: what the model sees.
        name: of the network, for the message.
    """
    pixels = torch.from_numpy(preprocess.to_input(images))
    if len(pixels) == 1:
        pixels = torch.cat([pixels, pixels.flip(-1)])
    with torch.inference_mode():
        answers = model(pixels)
        again = model(pixels)
        alone = torch.cat([model(pixels[number : number + 1]) for number in range(len(pixels))])
    if _differ(answers, again):
        places = draws_of_chance(model, pixels)
        where = f": {'; '.join(map(str, places[:3]))}" if places else ""
        raise UsageError(
            f"{name} answers by chance: the same picture gets other logits when it is asked again{where}. It must not "
            "draw random numbers in eval mode; functional.dropout, for one, needs training=self.training."
        )
    if _differ(answers, alone):
        training = [path for path, module in model.named_modules() if module.training and not list(module.children())]
        where = f": in training mode are {', '.join(training[:3])}" if training else ""
        raise UsageError(
            f"{name} answers by its neighbours: a picture gets other logits alone than in a batch{where}. Batch "
            "normalisation in training mode does so; everything must follow model.eval()."
        )


def _differ(left: Tensor, right: Tensor) -> bool:
    return bool(((left - right).abs() > TOLERANCE * left.abs().max() + 1e-6).any())
