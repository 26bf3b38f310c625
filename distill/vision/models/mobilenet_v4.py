"""MobileNetV4 (Qin et al. 2024, arXiv:2404.10518), from timm.

Universal inverted bottlenecks: convolutions, batch normalisation and ReLU only in the `conv` networks.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "mobilenet_v4_conv_small": FromTimm(
        "mobilenetv4_conv_small", "MobileNetV4-Conv-S: 2,505,834 parameters with 10 classes."
    ),
    "mobilenet_v4_conv_medium": FromTimm(
        "mobilenetv4_conv_medium", "MobileNetV4-Conv-M: 8,447,322 parameters with 10 classes."
    ),
    "mobilenet_v4_hybrid_medium": FromTimm(
        "mobilenetv4_hybrid_medium", "MobileNetV4-Hybrid-M, with attention: 9,806,458 parameters with 10 classes."
    ),
}
