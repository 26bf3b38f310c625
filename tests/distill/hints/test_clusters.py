"""Planted clusters are found exactly; ties, empty and scattered clusters do what is said of them."""

import itertools

import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.hints.clusters import (
    Clustering,
    distances,
    in_order,
    kernel_k_means,
    near_ties,
    seeds,
    segmentation,
)
from distill.hints.similarity import Matrix, Moments, gcd_and_cca, linear_cka

PLANTED = ((0, 1, 2, 3), (4, 5, 6, 7, 8), (9, 10, 11))


def planted(clusters: tuple[tuple[int, ...], ...], *, images: int = 400, noise: float = 0.3) -> Moments:
    """Features of blocks: each cluster's own directions, turned and with noise, in widths that differ."""
    generator = torch.Generator().manual_seed(0)
    where = {block: number for number, members in enumerate(clusters) for block in members}
    sources = torch.randn(len(clusters), images, 4, generator=generator, dtype=torch.float64)
    parts = []
    for block in range(len(where)):
        turned = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
        extra = torch.randn(images, 4 + block % 3, generator=generator, dtype=torch.float64)
        parts.append(torch.cat([sources[where[block]] @ turned, noise * extra], dim=1))
    moments = Moments([part.shape[1] for part in parts])
    for batch in torch.cat(parts, dim=1).split(64):
        moments.add(batch)
    return moments


def similar(clusters: tuple[tuple[int, ...], ...], *, within: float = 0.9, between: float = 0.2) -> Matrix:
    """A matrix with two values beside the diagonal's 1."""
    labels = np.array(Clustering(clusters).cluster_of())
    return np.where(labels[:, None] == labels, within, between) + (1 - within) * np.eye(len(labels))


@pytest.mark.parametrize("metric", ["cka", "gcd"])
def test_planted_clusters_are_found(metric: str) -> None:
    moments = planted(PLANTED)
    kernel = linear_cka(moments) if metric == "cka" else gcd_and_cca(moments)[0]
    found = kernel_k_means(kernel, 3)
    assert found.clusters == PLANTED
    assert found.hints == (1, 6, 10)  # the middle ones, the lower of two
    assert segmentation(kernel, 3) == found
    assert found.scattered() == ()
    assert near_ties(kernel, found) == ()


def test_scattered_clusters_are_found_and_told() -> None:
    clusters = ((0, 1, 6), (2, 3, 4, 5), (7, 8, 9))
    kernel = linear_cka(planted(clusters))
    found = kernel_k_means(kernel, 3)
    assert found.clusters == clusters
    assert found.hints == (1, 3, 8)
    assert found.scattered() == (0,)
    stretches = segmentation(kernel, 3)
    assert stretches.clusters == ((0, 1), (2, 3, 4, 5), (6, 7, 8, 9))
    assert found.agreement(stretches) == 0.9


def test_equal_distances_go_to_the_lower_cluster() -> None:
    kernel = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]])
    assert kernel_k_means(kernel, 2).clusters == ((0, 1), (2,))
    nearly = kernel.copy()
    nearly[1, 2] = nearly[2, 1] = 0.5 + 1e-13  # rounding decides nothing
    assert kernel_k_means(nearly, 2).clusters == ((0, 1), (2,))
    assert segmentation(kernel, 2).clusters == ((0,), (1, 2))


def test_an_empty_cluster_takes_the_farthest_block() -> None:
    """The seeds 1 and 3 are the same, so the second cluster loses everything to the first."""
    kernel = similar(((0, 1, 2), (3,), (4,)), within=1.0)
    kernel[3, 4] = kernel[4, 3] = 0.6
    kernel[0:3, 4] = kernel[4, 0:3] = 0.1
    found = kernel_k_means(kernel, 3)
    assert found.clusters == ((0, 1, 2), (3,), (4,))
    same = np.ones((4, 4))
    assert sorted(len(members) for members in kernel_k_means(same, 3).clusters) == [1, 1, 2]


def test_seeds_are_the_first_the_middle_and_the_last() -> None:
    assert seeds(54, 3) == (0, 26, 53)  # floor((L + 1) / 2), from 1
    assert seeds(15, 3) == (0, 7, 14)
    assert seeds(16, 4) == (0, 5, 10, 15)
    assert seeds(9, 1) == (0,)
    assert seeds(2, 2) == (0, 1)


def test_distances_are_those_from_the_mean_vector() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clusters = ((0, 3), (1, 2, 5), (4,))
    found = distances(vectors @ vectors.T, clusters)
    for block, (number, members) in itertools.product(range(6), enumerate(clusters)):
        mean = vectors[list(members)].mean(axis=0)
        assert found[block, number] == pytest.approx(1 - vectors[block] @ mean / np.linalg.norm(mean), abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_the_segmentation_is_the_best_of_all(count: int) -> None:
    vectors = np.abs(np.random.default_rng(1).normal(size=(9, 3)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kernel = vectors @ vectors.T

    def cost(clustering: Clustering) -> float:
        apart = distances(kernel, clustering.clusters)
        return sum(apart[block, number] for block, number in enumerate(clustering.cluster_of()))

    every = []
    for cuts in itertools.combinations(range(1, 9), count - 1):
        ends = (0, *cuts, 9)
        every.append(Clustering(tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends))))
    assert segmentation(kernel, count) == min(every, key=cost)


def test_a_near_tie_that_moves_a_hint_is_told() -> None:
    clusters = Clustering(((0, 1, 2), (3, 4, 5)))
    kernel = similar(clusters.clusters)
    assert near_ties(kernel, clusters) == ()
    kernel[2, :2] = kernel[:2, 2] = 0.4
    kernel[2, 3:] = kernel[3:, 2] = 0.684
    (tie,) = near_ties(kernel, clusters)
    apart = distances(kernel, clusters.clusters)
    assert (tie.block, tie.cluster, tie.other, tie.hints) == (2, 0, 1, (0, 3))
    assert tie.margin == pytest.approx(apart[2, 1] - apart[2, 0], abs=1e-12)
    assert 0 < tie.margin < 0.01
    kernel[2, 3:] = kernel[3:, 2] = 0.6
    assert near_ties(kernel, clusters) == ()


def test_a_near_tie_that_moves_no_hint_or_would_scatter_stretches_is_not_told() -> None:
    even = Clustering(((0, 1, 2, 3), (4, 5, 6, 7)))
    kernel = similar(even.clusters)
    kernel[3, :3] = kernel[:3, 3] = 0.4
    kernel[3, 4:] = kernel[4:, 3] = 0.613
    apart = distances(kernel, even.clusters)
    assert 0 < apart[3, 1] - apart[3, 0] < 0.01
    assert near_ties(kernel, even) == ()  # the hints are 2 and 6, with or without block 4
    clusters = Clustering(((0, 1, 2), (3, 4, 5)))
    kernel = similar(clusters.clusters)
    kernel[1, [0, 2]] = kernel[[0, 2], 1] = 0.4
    kernel[1, 3:] = kernel[3:, 1] = 0.684
    assert [tie.block for tie in near_ties(kernel, clusters)] == [1]
    assert near_ties(kernel, clusters, contiguous=True) == ()


def test_more_clusters_than_blocks_are_refused() -> None:
    for divide in (kernel_k_means, segmentation):
        with pytest.raises(UsageError, match=r"3 clusters cannot be made of 2 blocks. Use --clusters 2"):
            divide(np.eye(2), 3)


def test_a_hint_may_be_the_last_block_of_its_cluster() -> None:
    scattered = [[0, 1, 6], [2, 3, 4, 5]]
    assert (in_order(scattered).hints, in_order(scattered).clusters[0]) == ((1, 3), (0, 1, 6))
    last = in_order(scattered, "last")
    assert (last.hints, last.clusters[0]) == ((5, 6), (2, 3, 4, 5))
