"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), from torchvision.

Deviation: torchvision's batch normalisation keeps running statistics with momentum 0.01, made for 600 epochs of
ImageNet. A distillation run of a few hundred steps would be evaluated with statistics of its first steps (17 % accuracy
at a training loss of 0.36 was seen), so momentum is PyTorch's usual 0.1 here. Exported graphs do not depend on it.
"""

from collections.abc import Callable
from copy import copy
from functools import partial

from torch import nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig

_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)


def mobilenet_v3_small(num_classes: int) -> nn.Module:
    """MobileNetV3-Small: 1,528,106 parameters with 10 classes."""
    return models.mobilenet_v3_small(weights=None, num_classes=num_classes, norm_layer=_norm)


def mobilenet_v3_large(num_classes: int) -> nn.Module:
    """MobileNetV3-Large: 4,214,842 parameters with 10 classes."""
    return models.mobilenet_v3_large(weights=None, num_classes=num_classes, norm_layer=_norm)


def mobilenet_v3_small_relu(num_classes: int) -> nn.Module:
    """MobileNetV3-Small made for int8, with ReLU6 and no squeeze-excitation: 1,066,466 parameters with 10 classes.

    ReLU6 fixes the range of every activation to [0, 6] and is computed inside the convolution before it; a hard-swish
    has a tail that the calibrator must cut, and stays in float between two conversions in XNNPACK. So does the hard
    sigmoid of a squeeze-excitation, whose two convolutions and product each need a range of their own. What is left
    are convolutions, sums, one mean and two linear layers. Plain ReLU was not compared with ReLU6 here.
    """
    network = models.mobilenet_v3_small(weights=None, num_classes=num_classes, norm_layer=_norm, block=_plain_block)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Hardswish | nn.ReLU):
            network.set_submodule(name, nn.ReLU6(inplace=True))
    return network


def _plain_block(settings: InvertedResidualConfig, norm_layer: Callable[..., nn.Module]) -> nn.Module:
    plain = copy(settings)
    plain.use_se = plain.use_hs = False
    return InvertedResidual(plain, norm_layer)
