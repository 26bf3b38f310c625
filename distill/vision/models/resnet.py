"""ResNet (He et al. 2015, arXiv:1512.03385), from torchvision: the teachers."""

from torch import nn
from torchvision import models


def resnet18(num_classes: int) -> nn.Module:
    """ResNet-18: 11,181,642 parameters with 10 classes."""
    return models.resnet18(weights=None, num_classes=num_classes)


def resnet50(num_classes: int) -> nn.Module:
    """ResNet-50: 23,528,522 parameters with 10 classes."""
    return models.resnet50(weights=None, num_classes=num_classes)
