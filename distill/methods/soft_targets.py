"""The loss of soft targets: how far a student's distribution is from its teacher's."""

import torch.nn.functional as F
from torch import Tensor

from distill.methods.precision import at_least_float32


def soft_target_loss(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), Eq. 3 with the T^2 of Eq. 4.

    T^2 keeps the gradient's size independent of T. Both sides are computed in float32 (or wider) log space.

    Args:
        student: logits [B, classes], or of every pixel [B, classes, H, W].
        teacher: of that shape, detached by the caller.
        temperature: T > 0; a scalar tensor may carry gradient.

    Returns:
        Scalar >= 0 in nats up to rounding (float32 may give -T^2 * 1e-7 for equal logits), mean over the batch (and
        its pixels), sum over the classes.
    """
    return divergences(student, teacher, temperature=temperature).mean()


def divergences(student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
    """As `soft_target_loss`, one value per distribution: [B] or [B, H, W]."""
    log_student = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    log_teacher = F.log_softmax(at_least_float32(teacher) / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
    return divergence * temperature**2
