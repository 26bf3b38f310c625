"""VGG with batch normalisation for CIFAR (Simonyan and Zisserman 2015, arXiv:1409.1556), with one linear layer."""

import torch
from torch import Tensor, nn

from distill.vision.models.tap_points import Point, TapPoints, points_of_stages

WIDTHS = (64, 128, 256, 512, 512)


class Convolution(nn.Module):
    """3x3 convolution, batch normalisation and ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, channels, H, W] -> [B, out_channels, H, W]."""
        return self.relu(self.bn(self.conv(x)))


class VGG(nn.Module):
    """Five groups of convolutions at 1/1, 1/2, 1/4, 1/8 and 1/8 of the picture, and a mean over what is left of it.

    The first group is called the stem, as the CRD protocol counts, so there are four stages.
    """

    def __init__(self, num_classes: int, convolutions: tuple[int, ...]) -> None:
        super().__init__()
        self.groups = nn.ModuleList()
        channels = 3
        for count, width in zip(convolutions, WIDTHS, strict=True):
            group = nn.Sequential()
            for _ in range(count):
                group.append(Convolution(channels, width))
                channels = width
            self.groups.append(group)
        self.halve = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, (2 / (9 * module.out_channels)) ** 0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc.weight, 0, 0.01)
        nn.init.zeros_(self.fc.bias)

    @property
    def tap_points(self) -> TapPoints:
        """Rectified maps, and what batch normalisation gives before; the stem is rectified in either case."""
        sizes = [len(group) for group in self.groups]  # pyright: ignore[reportArgumentType]
        stem = f"groups.0.{sizes[0] - 1}"
        stages = [
            [Point(f"groups.{group}.{number}", f"groups.{group}.{number}.relu:input") for number in range(sizes[group])]
            for group in range(1, len(sizes))
        ]
        return points_of_stages(Point(stem, stem), stages, "fc:input")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> logits [B, classes]; 8 px or more."""
        x = images
        for number, group in enumerate(self.groups):
            x = group(self.halve(x) if 0 < number < 4 else x)
        return self.fc(torch.flatten(self.pool(x), 1))


def vgg8_bn(num_classes: int) -> nn.Module:
    """VGG-8 for CIFAR: 3,918,858 parameters with 10 classes."""
    return VGG(num_classes, (1, 1, 1, 1, 1))


def vgg11_bn(num_classes: int) -> nn.Module:
    """VGG-11 for CIFAR: 9,231,114 parameters with 10 classes."""
    return VGG(num_classes, (1, 1, 2, 2, 2))


def vgg13_bn(num_classes: int) -> nn.Module:
    """VGG-13 for CIFAR: 9,416,010 parameters with 10 classes."""
    return VGG(num_classes, (2, 2, 2, 2, 2))


def vgg16_bn(num_classes: int) -> nn.Module:
    """VGG-16 for CIFAR: 14,728,266 parameters with 10 classes."""
    return VGG(num_classes, (2, 2, 3, 3, 3))


def vgg19_bn(num_classes: int) -> nn.Module:
    """VGG-19 for CIFAR: 20,040,522 parameters with 10 classes."""
    return VGG(num_classes, (2, 2, 4, 4, 4))
