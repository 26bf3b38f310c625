"""StarNet (Ma et al. 2024, arXiv:2403.19967), from timm.

Its blocks multiply two branches element by element.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "starnet_s1": FromTimm("starnet_s1", "StarNet-S1: 2,678,098 parameters with 10 classes."),
}
