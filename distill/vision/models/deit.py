"""DeiT (Touvron et al. 2020, arXiv:2012.12877), from timm.

A plain vision transformer, made for one size of pictures.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "deit_tiny": FromTimm(
        "deit_tiny_patch16_224", "DeiT-Tiny, patches of 16 px: 5,526,346 parameters with 10 classes."
    ),
}
