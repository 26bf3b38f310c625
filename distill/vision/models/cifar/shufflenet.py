"""ShuffleNet V1 and V2 for CIFAR (Zhang et al. 2018, arXiv:1707.01083; Ma et al. 2018, arXiv:1807.11164).

The stem is a 1x1 convolution at full resolution; three stages follow at 1/2, 1/4 and 1/8.
"""

import torch
from torch import Tensor, nn

from distill.vision.models.tap_points import Point, TapPoints, points_of_stages


class Shuffled(nn.Module):
    """Channels [g0 g0 … g1 g1 …] -> [g0 g1 … g0 g1 …], so that groups see one another."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W], C a multiple of the groups."""
        batch, channels, height, width = x.shape
        return x.reshape(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)


class GroupedBlock(nn.Module):
    """Of V1: grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions; their sum with the input, or both side by side
    where the resolution is halved, is rectified.
    """

    def __init__(self, channels: int, out_channels: int, *, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, groups=first_groups, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            Shuffled(first_groups),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out_channels, 1, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> as many channels, or channels + out_channels of half the size."""
        if self.shortcut is None:
            return self.relu(self.body(x) + x)
        return self.relu(torch.cat([self.body(x), self.shortcut(x)], dim=1))


class SplitBlock(nn.Module):
    """Of V2: one half of the channels is convolved, the other passes; or both are, where the resolution is halved.

    What passes is rectified already, so one ReLU after both are put together is the same as one on the convolved half.
    """

    def __init__(self, channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.halves = stride == 1
        self.shortcut = nn.Sequential()
        if stride == 2:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.Conv2d(channels, half, 1, bias=False),
                nn.BatchNorm2d(half),
            )
        self.body = nn.Sequential(
            nn.Conv2d(half if self.halves else channels, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, stride=stride, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
        )
        self.relu = nn.ReLU(inplace=True)
        self.shuffle = Shuffled(2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> [B, out_channels, H / stride, W / stride]."""
        passed, convolved = x.chunk(2, dim=1) if self.halves else (x, x)
        return self.shuffle(self.relu(torch.cat([self.shortcut(passed), self.body(convolved)], dim=1)))


class ShuffleNetV1(nn.Module):
    """Three groups; 4, 8 and 4 blocks that give 240, 480 and 960 channels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = 24
        for count, width in ((4, 240), (8, 480), (4, 960)):
            first = GroupedBlock(
                channels, width - channels, stride=2, groups=3, first_groups=1 if channels == 24 else 3
            )
            rest = (GroupedBlock(width, width, stride=1, groups=3, first_groups=3) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *rest))
            channels = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    @property
    def tap_points(self) -> TapPoints:
        """Rectified sums, and the sums before."""
        return _points(self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.fc(torch.flatten(self.pool(x), 1))


class ShuffleNetV2(nn.Module):
    """4, 8 and 4 blocks of 116, 232 and 464 channels, and a 1x1 convolution to 1024."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = 24
        for count, width in ((4, 116), (8, 232), (4, 464)):
            first = SplitBlock(channels, width, stride=2)
            self.stages.append(nn.Sequential(first, *(SplitBlock(width, width, stride=1) for _ in range(count - 1))))
            channels = width
        self.last = nn.Sequential(nn.Conv2d(channels, 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1024, num_classes)

    @property
    def tap_points(self) -> TapPoints:
        """Rectified and shuffled, and before both, where half of the channels is rectified already."""
        return _points(self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.fc(torch.flatten(self.pool(self.last(x)), 1))


def _points(stages: nn.ModuleList) -> TapPoints:
    points = [
        [
            Point(f"stages.{stage}.{block}", f"stages.{stage}.{block}.relu:input")
            for block, _ in enumerate(blocks.children())
        ]
        for stage, blocks in enumerate(stages)
    ]
    return points_of_stages(Point("stem", "stem"), points, "fc:input")


def shufflenet_v1(num_classes: int) -> nn.Module:
    """ShuffleNet V1 for CIFAR with three groups: 862,768 parameters with 10 classes."""
    return ShuffleNetV1(num_classes)


def shufflenet_v2(num_classes: int) -> nn.Module:
    """ShuffleNet V2 for CIFAR: 1,263,278 parameters with 10 classes."""
    return ShuffleNetV2(num_classes)
