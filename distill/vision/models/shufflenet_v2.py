"""ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164), from torchvision."""

from torch import nn
from torchvision import models


def shufflenet_v2_x1_0(num_classes: int) -> nn.Module:
    """ShuffleNetV2 x1.0: 1,263,854 parameters with 10 classes.

    The echo-view paper cites ShuffleNet V1, but takes its networks from torchvision, which has V2 only.
    """
    return models.shufflenet_v2_x1_0(weights=None, num_classes=num_classes)
