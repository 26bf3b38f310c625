"""EdgeNeXt (Maaz et al. 2022, arXiv:2206.10589), from timm.

Attends over channels instead of places.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "edgenext_xx_small": FromTimm(
        "edgenext_xx_small", "EdgeNeXt-XXS, with attention: 1,159,906 parameters with 10 classes."
    ),
    "edgenext_x_small": FromTimm(
        "edgenext_x_small", "EdgeNeXt-XS, with attention: 2,145,734 parameters with 10 classes."
    ),
}
