"""EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946, without squeeze-excitation and with ReLU6), from timm.

The `tf_` networks of timm pad as TensorFlow does, where the published weights were trained.
"""

from torch import nn


def efficientnet_lite0(num_classes: int) -> nn.Module:
    """EfficientNet-Lite0: 3,383,818 parameters with 10 classes."""
    return _from_timm("tf_efficientnet_lite0", num_classes)


def efficientnet_lite2(num_classes: int) -> nn.Module:
    """EfficientNet-Lite2: 4,823,882 parameters with 10 classes."""
    return _from_timm("tf_efficientnet_lite2", num_classes)


def _from_timm(name: str, num_classes: int) -> nn.Module:
    import timm  # two seconds that the other networks do not need

    return timm.create_model(name, pretrained=False, num_classes=num_classes)
