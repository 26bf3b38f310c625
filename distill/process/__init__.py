"""A distillation process: how much each pathway from a teacher's map to a student's weighs, from begin to end.

DistPro: Deng et al. 2022, "DistPro: searching a fast knowledge distillation process via meta optimization",
arXiv:2204.05547.
"""

import distill.methods  # noqa: F401  # its table names the methods that are made of this room, so it is read first
