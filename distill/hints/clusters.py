"""Clusters of blocks from how alike every two of them are: kernel k-means, and the best division into stretches.

The paper takes the mean of features that differ in width, which does not exist. Here a block is a unit vector whose
inner products with the others are their similarities (`distill.hints.similarity`); means are taken there, and a block's
distance from a cluster is 1 - its cosine with the cluster's mean. For CKA that is 1 - CKA(block, mean Gram matrix).
Blocks are counted from 0 here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError
from distill.hints.options import Position

Matrix = NDArray[np.float64]

MOST_ROUNDS = 100
SAME = 1e-9
"""Distances that differ by less are the same; the lower block or cluster is taken."""

NEAR = 0.01
"""A block whose distances from two clusters differ by less might as well be in the other."""


@dataclass(frozen=True)
class Clustering:
    """Which block is in which cluster; clusters are counted in the order of their hints.

    Attributes:
        clusters: of each, its blocks in ascending order.
        position: of a hint in its cluster.
    """

    clusters: tuple[tuple[int, ...], ...]
    position: Position = "centre"

    @property
    def hints(self) -> tuple[int, ...]:
        """The centre of each cluster, its middle block, the lower of two; or its last."""
        return tuple(placed(members, self.position) for members in self.clusters)

    def cluster_of(self) -> tuple[int, ...]:
        """For each block the number of its cluster."""
        where = {block: number for number, members in enumerate(self.clusters) for block in members}
        return tuple(where[block] for block in sorted(where))

    def scattered(self) -> tuple[int, ...]:
        """Numbers of the clusters between whose blocks others lie."""
        return tuple(
            number for number, members in enumerate(self.clusters) if members[-1] - members[0] + 1 != len(members)
        )

    def agreement(self, other: "Clustering") -> float:
        """Share of the blocks, in [0, 1], that both put into the cluster of the same number."""
        pairs = list(zip(self.cluster_of(), other.cluster_of(), strict=True))
        return sum(ours == theirs for ours, theirs in pairs) / len(pairs)


@dataclass(frozen=True)
class NearTie:
    """A block that might as well be in another cluster, which would move the hints.

    Attributes:
        block: counted from 0.
        cluster, other: where it is, and where it might be.
        margin: by how much it is nearer to its own, in [0, `NEAR`).
        hints: if it were in the other.
    """

    block: int
    cluster: int
    other: int
    margin: float
    hints: tuple[int, ...]


def kernel_k_means(similarity: Matrix, count: int) -> Clustering:
    """Spherical k-means on the rows of a similarity matrix, from evenly spread seeds.

    The seeds of three clusters are the first, the middle and the last block. A cluster that loses all its blocks takes
    the one that is farthest from its own.

    Args:
        similarity: [L, L], positive semidefinite, 1 on the diagonal.
        count: of clusters.

    Raises:
        UsageError: more clusters than blocks.
    """
    _check(similarity, count)
    members = [[seed] for seed in seeds(len(similarity), count)]
    assigned: NDArray[np.int64] | None = None
    for _ in range(MOST_ROUNDS):
        apart = distances(similarity, members)
        nearest = _filled(_lowest(apart), apart)
        if assigned is not None and np.array_equal(nearest, assigned):
            break
        assigned = nearest
        members = [np.flatnonzero(assigned == number).tolist() for number in range(count)]
    return in_order(members)


def segmentation(similarity: Matrix, count: int) -> Clustering:
    """The division of the blocks into stretches with the least sum of distances from their clusters: exact.

    Of equal divisions the one whose last cluster begins first. Arguments and errors as `kernel_k_means`.
    """
    _check(similarity, count)
    blocks = len(similarity)
    corner = np.zeros((blocks + 1, blocks + 1))
    corner[1:, 1:] = similarity.cumsum(0).cumsum(1)

    def cost(start: int, end: int) -> float:
        """Sum over start <= block < end of 1 - cosine with their mean."""
        total = corner[end, end] - corner[start, end] - corner[end, start] + corner[start, start]
        return end - start - max(total, 0.0) ** 0.5

    best = {(0, 0): (0.0, 0)}
    for used in range(1, count + 1):
        for end in range(used, blocks - (count - used) + 1):
            options = [
                (best[used - 1, start][0] + cost(start, end), start)
                for start in range(used - 1, end)
                if (used - 1, start) in best
            ]
            least = min(value for value, _ in options)
            best[used, end] = next(option for option in options if option[0] <= least + SAME)
    stretches, end = [], blocks
    for used in range(count, 0, -1):
        start = best[used, end][1]
        stretches.append(range(start, end))
        end = start
    return in_order(stretches)


def near_ties(similarity: Matrix, clustering: Clustering, *, contiguous: bool = False) -> tuple[NearTie, ...]:
    """Blocks that lie between two clusters and carry a hint along, the closest first.

    Args:
        similarity: as it was clustered.
        clustering: its clusters.
        contiguous: blocks may only move where no cluster is scattered by it.
    """
    apart = distances(similarity, clustering.clusters)
    ties = []
    for block, own in enumerate(clustering.cluster_of()):
        if len(clustering.clusters[own]) == 1:
            continue
        for other in range(len(clustering.clusters)):
            margin = float(apart[block, other] - apart[block, own])
            if other == own or margin >= NEAR:
                continue
            moved = [
                sorted({*members, block} if number == other else {*members} - {block})
                for number, members in enumerate(clustering.clusters)
            ]
            then = in_order(moved, clustering.position)
            if then.hints != clustering.hints and not (contiguous and then.scattered()):
                ties.append(NearTie(block, own, other, max(margin, 0.0), then.hints))
    return tuple(sorted(ties, key=lambda tie: tie.margin))


def distances(similarity: Matrix, clusters: Sequence[Sequence[int]]) -> Matrix:
    """1 - cosine of every block with every cluster's mean: [L, clusters] in [0, 2]."""
    indicator = np.zeros((len(similarity), len(clusters)))
    for number, members in enumerate(clusters):
        indicator[list(members), number] = 1 / len(members)
    inner = similarity @ indicator
    lengths = np.sqrt(np.einsum("lc,lc->c", indicator, inner))
    return 1 - inner / lengths


def seeds(blocks: int, count: int) -> tuple[int, ...]:
    """Evenly spread from the first block to the last; halves are rounded down."""
    return tuple(int(np.ceil(place - 0.5)) - 1 for place in np.linspace(1, blocks, count))


def centre(members: Sequence[int]) -> int:
    """The middle one of blocks in ascending order, the lower of two."""
    return members[(len(members) - 1) // 2]


def placed(members: Sequence[int], position: Position) -> int:
    """The hint among blocks in ascending order."""
    return centre(members) if position == "centre" else members[-1]


def in_order(clusters: Sequence[Sequence[int]], position: Position = "centre") -> Clustering:
    """Clusters in the order of their hints."""
    ordered = sorted((tuple(members) for members in clusters), key=lambda members: placed(members, position))
    return Clustering(tuple(ordered), position)


def _lowest(apart: Matrix) -> NDArray[np.int64]:
    """For each block the nearest cluster, the lower of equally near ones."""
    return (apart <= apart.min(axis=1, keepdims=True) + SAME).argmax(axis=1)


def _filled(nearest: NDArray[np.int64], apart: Matrix) -> NDArray[np.int64]:
    """Every cluster without blocks takes the one farthest from its own cluster, unless that would be left empty."""
    nearest, blocks = nearest.copy(), np.arange(len(nearest))
    for number in range(apart.shape[1]):
        if (nearest == number).any():
            continue
        shared = np.bincount(nearest, minlength=apart.shape[1])[nearest] > 1
        own = np.where(shared, apart[blocks, nearest], -1.0)
        nearest[(own >= own.max() - SAME).argmax()] = number
    return nearest


def _check(similarity: Matrix, count: int) -> None:
    if not 1 <= count <= len(similarity):
        raise UsageError(
            f"{count} clusters cannot be made of {len(similarity)} blocks. Use --clusters {min(3, len(similarity))}."
        )
