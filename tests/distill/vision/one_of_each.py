"""Networks for tests that need not see every depth and width of a family."""

from distill.vision.models import MODELS
from distill.vision.models.cifar import NETWORKS

SMALLEST = ("resnet8", "wrn_16_1", "shufflenet_v1_cifar", "shufflenet_v2_cifar", "mobilenet_v2_half", "vgg8_bn")
"""Of each family of CIFAR's networks."""

ONE_OF_EACH = tuple(name for name in MODELS if name in SMALLEST or name not in NETWORKS)
