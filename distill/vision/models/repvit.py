"""RepViT (Wang et al. 2023, arXiv:2307.09283), from timm.

Trained with branches that are folded into single convolutions when it is exported.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "repvit_m0_9": FromTimm("repvit_m0_9", "RepViT-M0.9: 4,727,028 parameters with 10 classes."),
    "repvit_m1_1": FromTimm("repvit_m1_1", "RepViT-M1.1: 7,787,172 parameters with 10 classes."),
}
