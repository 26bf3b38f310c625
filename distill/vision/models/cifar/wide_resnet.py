"""Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146): wrn_DEPTH_FACTOR."""

import math

import torch
from torch import Tensor, nn

from distill.vision.models.tap_points import Point, TapPoints, points_of_stages


class PreActivated(nn.Module):
    """Normalisation and ReLU come before each convolution, so that what a block gives is a raw sum."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = channels == out_channels
        self.shortcut = None if same else nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> [B, out_channels, H / stride, W / stride]."""
        rectified = self.relu1(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(rectified)
        return shortcut + self.conv2(self.relu2(self.bn2(self.conv1(rectified))))


class WideResNet(nn.Module):
    """A 3x3 stem, three stages at 1/1, 1/2 and 1/4, a last normalisation, and a mean over the picture."""

    def __init__(self, num_classes: int, depth: int, factor: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        channels = 16
        for number, width in enumerate((16 * factor, 32 * factor, 64 * factor)):
            stage = nn.Sequential()
            for block in range((depth - 4) // 6):
                stage.append(PreActivated(channels, width, 2 if number and not block else 1))
                channels = width
            self.stages.append(stage)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kernel = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (kernel * module.out_channels)))
        nn.init.zeros_(self.fc.bias)

    @property
    def tap_points(self) -> TapPoints:
        """Of every block, what the next one makes of its raw sum first: normalised and rectified (post), or only
        normalised (pre). The raw sum is what the block's own path gives, `stages.0.1`.
        """
        sizes = [len(stage) for stage in self.stages]  # pyright: ignore[reportArgumentType]
        owners = [f"stages.{stage}.{block}." for stage, size in enumerate(sizes) for block in range(size)]
        stem, *blocks = (Point(f"{owner}relu1", f"{owner}relu1:input") for owner in [*owners, ""])
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        stages = [blocks[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        return points_of_stages(stem, stages, "fc:input")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        x = self.conv1(images)
        for stage in self.stages:
            x = stage(x)
        return self.fc(torch.flatten(self.pool(self.relu1(self.bn1(x))), 1))


def wrn_16_1(num_classes: int) -> nn.Module:
    """Wide ResNet 16-1: 175,066 parameters with 10 classes."""
    return WideResNet(num_classes, 16, 1)


def wrn_16_2(num_classes: int) -> nn.Module:
    """Wide ResNet 16-2: 691,674 parameters with 10 classes."""
    return WideResNet(num_classes, 16, 2)


def wrn_40_1(num_classes: int) -> nn.Module:
    """Wide ResNet 40-1: 563,930 parameters with 10 classes."""
    return WideResNet(num_classes, 40, 1)


def wrn_40_2(num_classes: int) -> nn.Module:
    """Wide ResNet 40-2: 2,243,546 parameters with 10 classes."""
    return WideResNet(num_classes, 40, 2)


def wrn_16_4(num_classes: int) -> nn.Module:
    """Wide ResNet 16-4: 2,748,890 parameters with 10 classes."""
    return WideResNet(num_classes, 16, 4)


def wrn_28_4(num_classes: int) -> nn.Module:
    """Wide ResNet 28-4: 5,849,050 parameters with 10 classes."""
    return WideResNet(num_classes, 28, 4)
