"""ResNet for CIFAR (He et al. 2015, arXiv:1512.03385, section 4.2), in the two families that distillation compares.

The thin ones (resnet8 … resnet110) have three stages of 16, 32 and 64 channels, four times as many where the name ends
in x4; resnet18, 34 and 50 have the four stages of ImageNet's behind a 3x3 stem. Shortcuts that change the shape are 1x1
convolutions, where the paper pads with zeros.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.vision.models.tap_points import Point, TapPoints, points_of_stages


class Residual(nn.Module):
    """Convolutions whose sum with the shortcut is rectified."""

    def __init__(self, channels: int, out_channels: int, *, stride: int, body: Sequence[nn.Module]) -> None:
        super().__init__()
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out_channels:
            convolution = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
        self.body = nn.Sequential(*body)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> [B, out_channels, H / stride, W / stride]."""
        shortcut = self.shortcut(x)
        return self.relu(self.body(x) + shortcut)


def basic_block(channels: int, width: int, stride: int) -> Residual:
    """Two 3x3 convolutions."""
    body = [
        *_convolution(channels, width, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(width, width, 3),
    ]
    return Residual(channels, width, stride=stride, body=body)


def bottleneck(channels: int, width: int, stride: int) -> Residual:
    """1x1, 3x3 and 1x1 convolutions, four times as wide at the end."""
    body = [
        *_convolution(channels, width, 1),
        nn.ReLU(inplace=True),
        *_convolution(width, width, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(width, 4 * width, 1),
    ]
    return Residual(channels, 4 * width, stride=stride, body=body)


class ResNet(nn.Module):
    """A 3x3 stem at full resolution, stages of which all but the first halve it, and a mean over the picture."""

    def __init__(
        self,
        num_classes: int,
        blocks: Sequence[int],
        widths: Sequence[int],
        *,
        stem_width: int,
        of_bottlenecks: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, stem_width, 3), nn.ReLU(inplace=True))
        make, factor = (bottleneck, 4) if of_bottlenecks else (basic_block, 1)
        self.stages = nn.ModuleList()
        channels = stem_width
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stage = nn.Sequential()
            for block in range(count):
                stage.append(make(channels, width, 2 if number and not block else 1))
                channels = factor * width
            self.stages.append(stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def tap_points(self) -> TapPoints:
        """Rectified sums, and the sums before; the stem is rectified in either case."""
        stages = [
            [
                Point(f"stages.{stage}.{block}", f"stages.{stage}.{block}.relu:input")
                for block, _ in enumerate(blocks.children())
            ]
            for stage, blocks in enumerate(self.stages)
        ]
        return points_of_stages(Point("stem", "stem"), stages, "fc:input")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.fc(torch.flatten(self.pool(x), 1))


def _convolution(channels: int, out_channels: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(out_channels)


def _thin(num_classes: int, depth: int, *, factor: int = 1) -> nn.Module:
    widths = [16 * factor, 32 * factor, 64 * factor]
    return ResNet(num_classes, [(depth - 2) // 6] * 3, widths, stem_width=32 if factor == 4 else 16)


def resnet8(num_classes: int) -> nn.Module:
    """ResNet-8 for CIFAR: 78,042 parameters with 10 classes."""
    return _thin(num_classes, 8)


def resnet14(num_classes: int) -> nn.Module:
    """ResNet-14 for CIFAR: 175,258 parameters with 10 classes."""
    return _thin(num_classes, 14)


def resnet20(num_classes: int) -> nn.Module:
    """ResNet-20 for CIFAR: 272,474 parameters with 10 classes."""
    return _thin(num_classes, 20)


def resnet32(num_classes: int) -> nn.Module:
    """ResNet-32 for CIFAR: 466,906 parameters with 10 classes."""
    return _thin(num_classes, 32)


def resnet44(num_classes: int) -> nn.Module:
    """ResNet-44 for CIFAR: 661,338 parameters with 10 classes."""
    return _thin(num_classes, 44)


def resnet56(num_classes: int) -> nn.Module:
    """ResNet-56 for CIFAR: 855,770 parameters with 10 classes."""
    return _thin(num_classes, 56)


def resnet110(num_classes: int) -> nn.Module:
    """ResNet-110 for CIFAR: 1,730,714 parameters with 10 classes."""
    return _thin(num_classes, 110)


def resnet8x4(num_classes: int) -> nn.Module:
    """ResNet-8 for CIFAR, four times as wide: 1,210,410 parameters with 10 classes."""
    return _thin(num_classes, 8, factor=4)


def resnet32x4(num_classes: int) -> nn.Module:
    """ResNet-32 for CIFAR, four times as wide: 7,410,730 parameters with 10 classes."""
    return _thin(num_classes, 32, factor=4)


def resnet18(num_classes: int) -> nn.Module:
    """ResNet-18 with a stem for CIFAR: 11,173,962 parameters with 10 classes."""
    return ResNet(num_classes, [2, 2, 2, 2], [64, 128, 256, 512], stem_width=64)


def resnet34(num_classes: int) -> nn.Module:
    """ResNet-34 with a stem for CIFAR: 21,282,122 parameters with 10 classes."""
    return ResNet(num_classes, [3, 4, 6, 3], [64, 128, 256, 512], stem_width=64)


def resnet50(num_classes: int) -> nn.Module:
    """ResNet-50 with a stem for CIFAR: 23,520,842 parameters with 10 classes."""
    return ResNet(num_classes, [3, 4, 6, 3], [64, 128, 256, 512], stem_width=64, of_bottlenecks=True)
