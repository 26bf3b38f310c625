"""EfficientFormerV2 (Li et al. 2022, arXiv:2212.08059), from timm.

Made for one size of pictures, by which its attention knows places.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "efficientformer_v2_s0": FromTimm(
        "efficientformerv2_s0", "EfficientFormerV2-S0, with attention: 3,249,796 parameters with 10 classes."
    ),
}
