"""Tap points: where the literature reads inside a network, by name: its stem, blocks, stage ends and pooled features.

Every point but the pooled one lies behind an activation (post) or before it (pre); where there is none, as at the end
of MobileNetV2's linear bottlenecks, both are the same place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Point:
    """One point of a network: places as `distill.taps` reads them, a module's path or `PATH:input`.

    Attributes:
        post: after the activation.
        pre: before it.
    """

    post: str
    pre: str


@dataclass(frozen=True)
class TapPoints:
    """The points of a network, in the order in which it passes them.

    Attributes:
        stem: what goes into the first block; None if there is none.
        blocks: the end of every block.
        stage_ends: the end of every stage.
        pooled: the vector that goes into the classifier; None if there is none.
    """

    stem: Point | None
    blocks: tuple[Point, ...]
    stage_ends: tuple[Point, ...]
    pooled: str | None


@runtime_checkable
class HasTapPoints(Protocol):
    """A network that knows its points."""

    @property
    def tap_points(self) -> TapPoints:
        """Where they are."""
        ...


@runtime_checkable
class HasPooledPath(Protocol):
    """A network that knows what its answer is read from, in place of a vector that goes into a classifier."""

    pooled_path: str


def points_of_stages(stem: Point, stages: Sequence[Sequence[Point]], pooled: str) -> TapPoints:
    """The points of a network whose blocks are given stage by stage."""
    blocks = tuple(point for stage in stages for point in stage)
    return TapPoints(stem, blocks, tuple(stage[-1] for stage in stages), pooled)
