"""TinyViT (Wu et al. 2022, arXiv:2207.10666), from timm.

Attends within windows.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "tiny_vit_5m": FromTimm("tiny_vit_5m_224", "TinyViT-5M, with attention: 5,074,974 parameters with 10 classes."),
}
