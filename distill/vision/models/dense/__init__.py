"""Networks that answer for every pixel: torchvision's and segmentation_models_pytorch's, `NETWORKS` is the table.

They take normalised images [B, 3, H, W] and answer [B, outputs, H, W]: logits of a mask, or metres. Enlarging to the
input's size is in the graph, unless it is asked to be left out (`small_answers`).
"""

from collections.abc import Callable

from torch import nn

from distill.vision.models.dense import library, mobile

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "lraspp_mobilenet_v3_small": mobile.lraspp_mobilenet_v3_small,
    "lraspp_mobilenet_v3_large": mobile.lraspp_mobilenet_v3_large,
    "deeplabv3_mobilenet_v3_large": mobile.deeplabv3_mobilenet_v3_large,
    "pspnet_resnet101": library.pspnet("resnet101"),
    "pspnet_resnet18": library.pspnet("resnet18"),
    "pspnet_mobilenet_v2": library.pspnet("mobilenet_v2"),
    "deeplabv3plus_resnet18": library.builder("deeplabv3plus", "resnet18"),
    "deeplabv3plus_mobilenet_v2": library.builder("deeplabv3plus", "mobilenet_v2"),
    "unet_resnet18": library.builder("unet", "resnet18"),
    "unet_mobilenet_v2": library.builder("unet", "mobilenet_v2"),
}
"""Name -> builder; of others as `smp:ARCHITECTURE:ENCODER`."""
