"""MobileNetV2 for CIFAR (Sandler et al. 2018, arXiv:1801.04381), half as wide as the original.

The stem halves the picture, and stages end at 1/2, 1/4, 1/8 and 1/16.
"""

import torch
from torch import Tensor, nn

from distill.vision.models.tap_points import Point, TapPoints, points_of_stages

GROUPS = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1))
"""Expansion, channels, blocks and stride of each group of alike blocks."""

STAGES = ((0, 1), (2,), (3, 4), (5, 6))
"""The groups in each stage."""


class InvertedResidual(nn.Module):
    """1x1 to a wider map, depthwise 3x3, and 1x1 back without a ReLU; added to the input where shapes agree."""

    def __init__(self, channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.adds = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> [B, out_channels, H / stride, W / stride]."""
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV2(nn.Module):
    """Seven groups of blocks between a 3x3 stem and a 1x1 convolution to 1280 channels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.groups = nn.ModuleList()
        channels = 16
        for expansion, width, count, first_stride in GROUPS:
            group = nn.Sequential()
            for block in range(count):
                stride = 1 if block else first_stride
                group.append(InvertedResidual(channels, width, stride=stride, expansion=expansion))
                channels = width
            self.groups.append(group)
        self.last = nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1280, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kernel = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0, (2 / (kernel * module.out_channels)) ** 0.5)
        nn.init.normal_(self.fc.weight, 0, 0.01)
        nn.init.zeros_(self.fc.bias)

    @property
    def tap_points(self) -> TapPoints:
        """A bottleneck ends without an activation, so before and after are the same."""
        stages = [
            [
                Point(place, place)
                for group in groups
                for place in (f"groups.{group}.{block}" for block in range(GROUPS[group][2]))
            ]
            for groups in STAGES
        ]
        return points_of_stages(Point("stem", "stem"), stages, "fc:input")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        x = self.stem(images)
        for group in self.groups:
            x = group(x)
        return self.fc(torch.flatten(self.pool(self.last(x)), 1))


def mobilenet_v2_half(num_classes: int) -> nn.Module:
    """MobileNetV2 for CIFAR, half as wide: 697,546 parameters with 10 classes."""
    return MobileNetV2(num_classes)
