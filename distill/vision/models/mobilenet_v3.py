"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), from torchvision.

Deviation: torchvision's batch normalisation keeps running statistics with momentum 0.01, made for 600 epochs of
ImageNet. A distillation run of a few hundred steps would be evaluated with statistics of its first steps (17 % accuracy
at a training loss of 0.36 was seen), so momentum is PyTorch's usual 0.1 here. Exported graphs do not depend on it.
"""

from functools import partial

from torch import nn
from torchvision import models

_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)


def mobilenet_v3_small(num_classes: int) -> nn.Module:
    """MobileNetV3-Small: 1,528,106 parameters with 10 classes."""
    return models.mobilenet_v3_small(weights=None, num_classes=num_classes, norm_layer=_norm)


def mobilenet_v3_large(num_classes: int) -> nn.Module:
    """MobileNetV3-Large: 4,214,842 parameters with 10 classes."""
    return models.mobilenet_v3_large(weights=None, num_classes=num_classes, norm_layer=_norm)
