"""Pooled features of a teacher's blocks: one vector for each image, the mean over its pixels or tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distill.errors import UsageError
from distill.hints.options import Activation
from distill.places import Named
from distill.taps import hooks, probe
from distill.training.batches import Batches
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier
from distill.vision.models.tap_points import Point
from distill.vision.preprocess import Preprocess

BATCH = 250


@dataclass(frozen=True)
class Blocks:
    """Where a network's blocks end.

    Attributes:
        names: `block:1` … or `block:1:pre` …
        places: of the blocks, as `distill.taps.hooks` reads them.
        widths: channels of each one's pooled features.
        stage_ends: blocks, counted from 0, that a stage ends with; empty unless all stages do.
    """

    names: tuple[str, ...]
    places: tuple[str, ...]
    widths: tuple[int, ...]
    stage_ends: tuple[int, ...]


def blocks_of(model: ImageClassifier, preprocess: Preprocess, activation: Activation) -> Blocks:
    """The blocks of a network, asked once about black pictures.

    Raises:
        UsageError: it has fewer than two, or one that gives neither maps nor tokens nor vectors.
    """
    named = Named(model.network, preprocess.size_px)
    points = named.points
    if len(points.blocks) < 2:
        raise UsageError(
            f"a {named.kind} has {len(points.blocks)} blocks that could be recognised; hints are chosen among two or "
            "more. Name the places to compare yourself (method.taps); python -m distill taps MODEL lists them."
        )
    suffix = ":pre" if activation == "pre" else ""
    names = tuple(f"block:{number}{suffix}" for number in range(1, len(points.blocks) + 1))
    places = tuple(named.place(name) for name in names)
    pictures = torch.zeros(2, *preprocess.input_shape, device=model.mean.device)
    shapes = probe(model, model.network, tuple(dict.fromkeys(places)), pictures).shapes
    last = _channels_last(model)
    widths = tuple(pooled(torch.zeros(1, *shapes[place]), channels_last=last).shape[1] for place in places)
    ends = [_last_block(point.post, points.blocks) for point in points.stage_ends]
    return Blocks(names, places, widths, tuple(end for end in ends if end is not None) if None not in ends else ())


def drawn(split: Split, count: int, *, seed: int) -> Tensor:
    """Positions of so many images, int64 in ascending order; all, if there are no more."""
    if count >= len(split):
        return torch.arange(len(split))
    return torch.from_numpy(np.sort(np.random.default_rng(seed).choice(len(split), count, replace=False)))


def features(
    model: ImageClassifier, blocks: Blocks, split: Split, positions: Tensor, device: torch.device
) -> Iterator[Tensor]:
    """Pooled features of the blocks side by side, float32 [B, sum of the widths], batch by batch."""
    batches = Batches(split, batch_size=BATCH, device=device).part(positions)
    for batch in batches.in_order():
        yield pooled_features(model, blocks.places, batch.images)


@torch.inference_mode()
def pooled_features(model: ImageClassifier, places: Sequence[str], images: Tensor) -> Tensor:
    """Features of images [B, C, H, W] in one call, pooled as soon as they are passed: float32 [B, D]."""
    by_place: dict[str, Tensor] = {}
    last = _channels_last(model)

    def keep(place: str, value: Tensor) -> None:
        by_place[place] = pooled(value, channels_last=last).float()

    with hooks(model.network, tuple(dict.fromkeys(places)), keep):
        model(images)
    return torch.cat([by_place[place] for place in places], dim=1)


def pooled(activation: Tensor, *, channels_last: bool = False) -> Tensor:
    """Maps [B, C, H, W] (or [B, H, W, C]) or tokens [B, T, C] -> their means [B, C]; vectors [B, C] as they are.

    Raises:
        UsageError: it has another number of dimensions.
    """
    dimensions = {2: (), 3: (1,), 4: (1, 2) if channels_last else (2, 3)}
    if activation.ndim not in dimensions:
        raise UsageError(
            f"a block gives {tuple(activation.shape[1:])} for an image; expected a map [C, H, W], tokens [T, C] or a "
            "vector [C]."
        )
    over = dimensions[activation.ndim]
    return activation.mean(dim=over) if over else activation


def _last_block(stage_end: str, blocks: Sequence[Point]) -> int | None:
    """The block that a stage ends with: at the same place, or the last one inside the stage's module."""
    ours = [at for at, point in enumerate(blocks) if f"{point.post}.".startswith(f"{stage_end}.")]
    return ours[-1] if ours else None


def _channels_last(model: ImageClassifier) -> bool:
    """Of timm's networks whose maps are [B, H, W, C]."""
    return str(getattr(model.network, "output_fmt", "NCHW")).endswith("NHWC")
