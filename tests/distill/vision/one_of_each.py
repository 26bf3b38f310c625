"""Networks for tests that need not see every depth and width of a family."""

from distill.vision.models import MODELS
from distill.vision.models.cifar import NETWORKS

SMALLEST = ("resnet8", "wrn_16_1", "shufflenet_v1_cifar", "shufflenet_v2_cifar", "mobilenet_v2_half", "vgg8_bn")
"""Of each family of CIFAR's networks."""

ONE_OF_EACH = tuple(name for name in MODELS if name in SMALLEST or name not in NETWORKS)

LARGE = (
    "resnet50",
    "mobilenet_v4_conv_medium",
    "mobilenet_v4_hybrid_medium",
    "mobileone_s1",
    "mobileone_s2",
    "repvit_m1_1",
    "fastvit_sa12",
    "edgenext_x_small",
    "efficientnet_lite1",
    "ghostnet_v2_100",
    "ghostnet_v3_100",
)
"""Of those, what shows no more than a smaller one of its family, or takes no pictures of 32 px (GhostNetV2 and V3)."""
