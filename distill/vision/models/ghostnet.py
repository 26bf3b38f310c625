"""GhostNet (Han et al. 2020, arXiv:1911.11907), GhostNetV2 (Tang et al. 2022, arXiv:2211.12905) and GhostNetV3 (Liu et
al. 2024, arXiv:2404.11202), from timm.

V2 adds an attention along rows and columns, V3 branches that only training needs.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "ghostnet_100": FromTimm("ghostnet_100", "GhostNet 1.0x: 3,914,318 parameters with 10 classes."),
    "ghostnet_v2_100": FromTimm("ghostnetv2_100", "GhostNetV2 1.0x: 4,888,718 parameters with 10 classes."),
    "ghostnet_v3_100": FromTimm("ghostnetv3_100", "GhostNetV3 1.0x: 6,860,838 parameters with 10 classes."),
}
