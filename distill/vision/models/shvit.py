"""SHViT (Yun and Ro 2024, arXiv:2401.16456), from timm.

One head attends to a part of the channels.
"""

from distill.vision.models.from_timm import FromTimm

NETWORKS = {
    "shvit_s1": FromTimm("shvit_s1", "SHViT-S1, with attention: 6,013,018 parameters with 10 classes."),
}
