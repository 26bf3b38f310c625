"""Transforms of a student's map to the channels and the size of a teacher's (the blocks of the paper's Fig. 4).

The figure is not in the text and names no layers; these are the blocks of the authors' release. Every one scales each
place of a map by a number that a 1x1 convolution reads there (they call it self-attention), and resizes by nearest
neighbours in its middle.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TransformName = Literal["two_convolutions", "three_convolutions", "rectified", "tokens"]

MOST_CHANNELS = 512


def transform(name: TransformName, student: torch.Size, teacher: torch.Size) -> nn.Module:
    """A module from maps [B, *student] to [B, *teacher], both shapes (C, H, W)."""
    middle = min(MOST_CHANNELS, student[0], teacher[0])
    return TRANSFORMS[name](student[0], middle, teacher)


class PlaceAttention(nn.Module):
    """Every place of a map times a number read there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = _convolution(channels, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        # As a product of matrices: a convolution to one channel has a slow backward pass.
        places = maps.permute(0, 2, 3, 1)
        return (places * F.linear(places, self.read.weight.flatten(1))).permute(0, 3, 1, 2)


class Resized(nn.Module):
    """A map at another height and width, by nearest neighbours."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, *size]."""
        return maps if maps.shape[2:] == self.size else F.interpolate(maps, self.size, mode="nearest")


class NormalisedTokens(nn.Module):
    """Layer normalisation over the channels of each place of a map, as a transformer has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        return self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _two_convolutions(channels: int, middle: int, teacher: torch.Size) -> nn.Module:
    return nn.Sequential(*_entrance(channels, middle, 1), _resized(teacher), *_normalised(middle, teacher[0], 3))


def _three_convolutions(channels: int, middle: int, teacher: torch.Size) -> nn.Module:
    inner = _normalised(middle, middle, 3)
    return nn.Sequential(
        *_entrance(channels, middle, 1), _resized(teacher), *inner, *_normalised(middle, teacher[0], 3)
    )


def _rectified(channels: int, middle: int, teacher: torch.Size) -> nn.Module:
    first, second = _normalised(channels, middle, 3), _normalised(middle, middle, 3)
    return nn.Sequential(
        *first,
        nn.ReLU(),
        PlaceAttention(middle),
        *second,
        nn.ReLU(),
        _resized(teacher),
        *_normalised(middle, teacher[0], 3),
    )


def _tokens(channels: int, middle: int, teacher: torch.Size) -> nn.Module:
    """For transformers, of which the paper only says that they have another block: no batch statistics, no 3x3."""
    return nn.Sequential(
        NormalisedTokens(channels),
        nn.Conv2d(channels, middle, 1),
        nn.GELU(),
        PlaceAttention(middle),
        _resized(teacher),
        nn.Conv2d(middle, teacher[0], 1),
    )


TRANSFORMS: dict[TransformName, Callable[[int, int, torch.Size], nn.Module]] = {
    "two_convolutions": _two_convolutions,
    "three_convolutions": _three_convolutions,
    "rectified": _rectified,
    "tokens": _tokens,
}
assert tuple(TRANSFORMS) == get_args(TransformName)


def _entrance(channels: int, middle: int, kernel: int) -> list[nn.Module]:
    return [*_normalised(channels, middle, kernel), PlaceAttention(middle)]


def _normalised(channels: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [_convolution(channels, outputs, kernel), nn.BatchNorm2d(outputs)]


def _resized(teacher: torch.Size) -> Resized:
    return Resized((teacher[1], teacher[2]))


def _convolution(channels: int, outputs: int, kernel: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.normal_(layer.weight, 0, (2 / (kernel**2 * outputs)) ** 0.5)
    return layer
