"""FastViT (Vasu et al. 2023, arXiv:2303.14189), from timm.

Trained with branches that are folded into single convolutions when it is exported; `sa12` attends in its last stage.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "fastvit_t8": FromTimm("fastvit_t8", "FastViT-T8: 3,264,922 parameters with 10 classes."),
    "fastvit_sa12": FromTimm("fastvit_sa12", "FastViT-SA12, with attention: 10,566,218 parameters with 10 classes."),
}
