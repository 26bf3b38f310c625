"""What methods that compare maps [C, H, W] have in common."""

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.errors import UsageError
from distill.methods.method import Setting
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

STAGE_ENDS_BEFORE_ACTIVATION = TapPairs(student="stage-ends:pre", teacher="stage-ends:pre")
POOLED = TapPairs(student=("pooled",), teacher=("pooled",))


def pairs_of_maps(kind: str, setting: Setting, taps: TapPairs) -> tuple[tuple[str, str], ...]:
    """Places to compare one with one, each of which gives maps.

    Raises:
        UsageError: a place that gives none, or unequally many places.
    """
    pairs = setting.pairs(taps)
    require_maps(kind, [shape for ours, theirs in pairs for shape in (setting.student[ours], setting.teacher[theirs])])
    return pairs


def require_maps(kind: str, shapes: Sequence[torch.Size]) -> None:
    """Raises UsageError if an activation of one image is no map [C, H, W]."""
    others = [tuple(shape) for shape in shapes if len(shape) != 3]
    if others:
        raise UsageError(f"{kind} compares maps [C, H, W]; method.taps gives {others[0]} as well. Name other places.")


MOST_PREFIX_TOKENS = 5
"""Tokens before those of the patches: one of the class, one of a teacher, four registers at most."""


def as_map(values: Tensor) -> Tensor:
    """Activations as maps [B, C, H, W]: maps as they are, vectors [B, C] as 1x1, tokens [B, N, C] on their square.

    Tokens come row by row, after those that belong to no patch (class, distillation, registers); these are left out.
    """
    if values.ndim == 2:
        return values[:, :, None, None]
    if values.ndim == 3:
        side = isqrt(values.shape[1])
        return values[:, values.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
    return values


def map_shape(kind: str, shape: torch.Size) -> torch.Size:
    """Shape [C, H, W] of what `as_map` makes of one image's activation.

    Raises:
        UsageError: an activation that is neither a map nor a vector nor tokens of a square of patches.
    """
    if len(shape) == 1:
        return torch.Size((shape[0], 1, 1))
    if len(shape) == 3:
        return shape
    side = isqrt(shape[0])
    if len(shape) != 2 or not 0 < side**2 <= shape[0] <= side**2 + MOST_PREFIX_TOKENS:
        raise UsageError(
            f"{kind} compares maps [C, H, W], vectors [C] and tokens [N, C] of a square of patches with at most "
            f"{MOST_PREFIX_TOKENS} others before them; method.taps gives {tuple(shape)} as well. Name other places."
        )
    return torch.Size((shape[1], side, side))


def at_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [B, C, H, W] and [B, C', H', W'] in float32, averaged down to the smaller height and width of the two."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return (
        F.adaptive_avg_pool2d(at_least_float32(student), size),
        F.adaptive_avg_pool2d(at_least_float32(teacher), size),
    )


def unit_length(values: Tensor, *, dim: int = 1) -> Tensor:
    """Divided by their length over a dimension; what has none stays 0 and has no gradient."""
    squares = values.square().sum(dim, keepdim=True)
    tiny = torch.finfo(squares.dtype).tiny
    return values * torch.where(squares > tiny, squares.clamp_min(tiny).rsqrt(), torch.zeros_like(squares))
