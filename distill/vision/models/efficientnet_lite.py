"""EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946, without squeeze-excitation and with ReLU6), from timm.

The `tf_` networks of timm pad as TensorFlow does, where the published weights were trained.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "efficientnet_lite0": FromTimm(
        "tf_efficientnet_lite0", "EfficientNet-Lite0: 3,383,818 parameters with 10 classes."
    ),
    "efficientnet_lite1": FromTimm(
        "tf_efficientnet_lite1", "EfficientNet-Lite1: 4,148,490 parameters with 10 classes."
    ),
    "efficientnet_lite2": FromTimm(
        "tf_efficientnet_lite2", "EfficientNet-Lite2: 4,823,882 parameters with 10 classes."
    ),
}
