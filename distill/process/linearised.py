"""Distances and the slope of each, found in one backward pass that serves any weights, and as often as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Slopes = tuple[tuple[int, Tensor], ...]
"""Which distances depend on a tensor, and the slope of each in it."""


@dataclass(frozen=True)
class Linearised:
    """Distances d_k of a student's maps, each from one map, and their slopes there.

    Attributes:
        values: d [L]; a backward pass from them, for whatever weights, costs weighted sums of the slopes and what the
            student itself costs. It can be repeated.
        levels: by number of the distance, on which of the maps it depends.
        maps: of the student, detached.
        slopes: by number of the distance, in its map.
    """

    values: Tensor
    levels: Sequence[int]
    maps: Sequence[Tensor]
    slopes: Sequence[Tensor]

    def change(self, maps: Sequence[Tensor]) -> Tensor:
        """By how much the distances differ where the student's maps are these, to first order: [L]."""
        steps = [there - here for there, here in zip(maps, self.maps, strict=True)]
        pairs = zip(self.slopes, self.levels, strict=True)
        return torch.stack([(slope * steps[level]).sum() for slope, level in pairs])


def linearised(
    distances: Sequence[Tensor],
    starts: Sequence[Tensor],
    parameters: Sequence[Sequence[Tensor]],
    levels: Sequence[int],
    maps: Sequence[Tensor],
) -> Linearised:
    """The distances with their slopes in the student's maps and in the parameters of their own transforms.

    Args:
        distances: L scalars, none of which shares a parameter with another.
        starts: by number of the distance, the leaf that it was computed from, equal to its map.
        parameters: by number of the distance, of its transform; what needs no gradient is left out.
        levels: by number of the distance, from which of the maps.
        maps: of the student, with the student's graph.
    """
    trained = [[parameter for parameter in own if parameter.requires_grad] for own in parameters]
    wanted = [*starts, *(parameter for own in trained for parameter in own)]
    found = torch.autograd.grad(torch.stack(list(distances)).sum(), wanted, materialize_grads=True)
    of_maps, of_parameters = found[: len(starts)], iter(found[len(starts) :])
    slopes: list[Slopes] = [
        tuple((number, of_maps[number]) for number, level in enumerate(levels) if level == wanted_level)
        for wanted_level in range(len(maps))
    ]
    slopes += [((number, next(of_parameters)),) for number, own in enumerate(trained) for _ in own]
    inputs = [*maps, *(parameter for own in trained for parameter in own)]
    values = torch.stack([distance.detach() for distance in distances])
    return Linearised(
        _Known.apply(values, slopes, *inputs),  # type: ignore[no-untyped-call]
        levels,
        [each.detach() for each in maps],
        of_maps,
    )


class _Known(torch.autograd.Function):
    """Values [L] as they are, whose slopes in the inputs are known."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, slopes: Sequence[Slopes], *inputs: Tensor) -> Tensor:
        """The values; `slopes` are those in each of the inputs."""
        ctx.slopes = slopes
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Of each input: its slopes, each times what the value weighs."""
        (weights,) = upstream
        return None, None, *(_weighed(own, weights) for own in ctx.slopes)


def _weighed(slopes: Slopes, weights: Tensor) -> Tensor | None:
    """The sum of a tensor's slopes, each times a weight; None of none."""
    if not slopes:
        return None
    (number, first), *others = slopes
    total = weights[number].to(first.dtype) * first
    for number, slope in others:
        total.addcmul_(slope, weights[number].to(slope.dtype))
    return total
