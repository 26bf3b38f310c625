"""MobileOne (Vasu et al. 2022, arXiv:2206.04040), from timm.

Trained with branches that are folded into single convolutions when it is exported.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "mobileone_s0": FromTimm("mobileone_s0", "MobileOne-S0: 4,278,522 parameters with 10 classes."),
    "mobileone_s1": FromTimm("mobileone_s1", "MobileOne-S1: 3,557,002 parameters with 10 classes."),
    "mobileone_s2": FromTimm("mobileone_s2", "MobileOne-S2: 5,856,138 parameters with 10 classes."),
}
