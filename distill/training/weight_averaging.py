"""The moving average of the weights of what is trained: steadier than the weights of any one step."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from distill.config import WeightAveraging
from distill.vision.models import ImageClassifier


class AveragedWeights:
    """Copies of networks whose parameters, and whose statistics of batch normalisation, are moving averages.

    The statistics are averaged with the weights, not measured anew, which would cost a pass over the training images;
    both forget at the same pace, so they fit each other. Counters are copied.

    Attributes:
        networks: the averages, in the order of the networks they follow.
    """

    def __init__(self, settings: WeightAveraging, followed: Sequence[ImageClassifier], device: torch.device) -> None:
        self.settings = settings
        self.followed = followed
        self.networks = [copy.deepcopy(network).to(device).requires_grad_(False) for network in followed]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after a step (0-based, of the whole run) into the average."""
        averages, weights = (_tensors(networks) for networks in (self.networks, self.followed))
        pairs = list(zip(averages, weights, strict=True))
        moving = [(average, weight) for average, weight in pairs if average.is_floating_point()]
        decay = min(self.settings.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)([average for average, _ in moving], [weight for _, weight in moving], None)
        for average, weight in pairs:
            if not average.is_floating_point():
                average.copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return dict(nn.ModuleList(self.networks).state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        nn.ModuleList(self.networks).load_state_dict(state)


def _tensors(networks: Sequence[nn.Module]) -> list[Tensor]:
    return [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
