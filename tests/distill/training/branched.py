"""A network with branches that only training needs, as MobileOne and RepVGG have them, and how they are folded."""

import torch
from torch import Tensor, nn


class Branched(nn.Module):
    """A convolution of 3 x 3 and one of 1 x 1 with a normalisation each, added: one convolution after all."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.wide: nn.Module | None = _normalised(channels_in, channels_out, 3)
        self.narrow: nn.Module | None = _normalised(channels_in, channels_out, 1)
        self.folded: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.folded is not None:
            return self.folded(x).relu()
        assert self.wide is not None
        assert self.narrow is not None
        return (self.wide(x) + self.narrow(x)).relu()

    def reparameterize(self) -> None:
        """As timm calls it."""
        if self.folded is not None:
            return
        (weight, bias), (narrow, narrow_bias) = _kernel(self.wide), _kernel(self.narrow)
        self.folded = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
        self.folded.weight.data = weight + nn.functional.pad(narrow, (1, 1, 1, 1))
        self.folded.bias.data = bias + narrow_bias
        self.wide = self.narrow = None


def branched(num_classes: int) -> nn.Module:
    """Two such layers and a classifier."""
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(Branched(3, 8), Branched(8, 16), *pool, nn.Linear(16, num_classes))


def _normalised(channels_in: int, channels_out: int, side: int) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels_out, side, 2, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


def _kernel(branch: nn.Module | None) -> tuple[Tensor, Tensor]:
    assert isinstance(branch, nn.Sequential)
    convolution, norm = branch
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * factor.view(-1, 1, 1, 1), norm.bias - norm.running_mean * factor
