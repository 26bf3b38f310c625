"""GhostNet (Han et al. 2020, arXiv:1911.11907), from timm."""

from torch import nn


def ghostnet_100(num_classes: int) -> nn.Module:
    """GhostNet 1.0x: 3,914,318 parameters with 10 classes."""
    import timm  # two seconds that the other networks do not need

    return timm.create_model("ghostnet_100", pretrained=False, num_classes=num_classes)
