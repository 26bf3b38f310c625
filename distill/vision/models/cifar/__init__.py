"""Networks for small pictures, as the CRD protocol compares distillation methods on them (Tian et al. 2020).

"Contrastive representation distillation", arXiv:1910.10699. No library has them. They are made for CIFAR's 32 px, whose
resolution all but MobileNetV2 keep in their stem.
"""

from collections.abc import Callable

from torch import nn

from distill.vision.models.cifar import mobilenet_v2, resnet, shufflenet, vgg, wide_resnet

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "resnet8": resnet.resnet8,
    "resnet14": resnet.resnet14,
    "resnet20": resnet.resnet20,
    "resnet32": resnet.resnet32,
    "resnet44": resnet.resnet44,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
    "resnet8x4": resnet.resnet8x4,
    "resnet32x4": resnet.resnet32x4,
    "resnet18_cifar": resnet.resnet18,
    "resnet34_cifar": resnet.resnet34,
    "resnet50_cifar": resnet.resnet50,
    "wrn_16_1": wide_resnet.wrn_16_1,
    "wrn_16_2": wide_resnet.wrn_16_2,
    "wrn_40_1": wide_resnet.wrn_40_1,
    "wrn_40_2": wide_resnet.wrn_40_2,
    "wrn_16_4": wide_resnet.wrn_16_4,
    "wrn_28_4": wide_resnet.wrn_28_4,
    "shufflenet_v1_cifar": shufflenet.shufflenet_v1,
    "shufflenet_v2_cifar": shufflenet.shufflenet_v2,
    "mobilenet_v2_half": mobilenet_v2.mobilenet_v2_half,
    "vgg8_bn": vgg.vgg8_bn,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
}
"""Name -> builder, as in `distill.vision.models.MODELS`."""
