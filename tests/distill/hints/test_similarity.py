"""CKA, GCD and CCA from streamed moments are those of slow NumPy over the whole features."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.errors import UsageError, WorkFailed
from distill.hints import similarity
from distill.hints.similarity import Moments, gcd_and_cca, linear_cka, rbf_cka

Array = NDArray[np.float64]
IMAGES, WIDTHS = 90, (5, 8, 8, 3)


@pytest.fixture
def features() -> list[torch.Tensor]:
    """Of four blocks that have some directions in common, with means far from 0."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(IMAGES, 4, generator=generator, dtype=torch.float64)
    mixed = [shared @ torch.randn(4, width, generator=generator, dtype=torch.float64) for width in WIDTHS]
    return [part + torch.randn(part.shape, generator=generator, dtype=torch.float64) + 30 for part in mixed]


def streamed(features: list[torch.Tensor], batch: int = IMAGES) -> Moments:
    moments = Moments([block.shape[1] for block in features])
    for part in torch.cat(features, dim=1).split(batch):
        moments.add(part)
    return moments


def pairs(features: list[torch.Tensor], alike: Callable[[Array, Array], float]) -> Array:
    blocks = [block.numpy() for block in features]
    return np.array([[alike(left, right) for right in blocks] for left in blocks])


def hsic(left: Array, right: Array) -> float:
    """Of two kernels [N, N]; without the factor that a ratio does not see."""
    centre = np.eye(len(left)) - 1 / len(left)
    return float(np.trace(left @ centre @ right @ centre))


def slow_cka(left: Array, right: Array) -> float:
    ours, theirs = left @ left.T, right @ right.T
    return hsic(ours, theirs) / np.sqrt(hsic(ours, ours) * hsic(theirs, theirs))


def slow_rbf(left: Array, right: Array) -> float:
    def kernel(block: Array) -> Array:
        apart = np.array([[np.linalg.norm(one - other) for other in block] for one in block])
        upper = np.sort(apart[np.triu_indices(len(block), 1)])
        return np.exp(-(apart**2) / (2 * (0.8 * upper[(len(upper) - 1) // 2]) ** 2))

    ours, theirs = kernel(left), kernel(right)
    return hsic(ours, theirs) / np.sqrt(hsic(ours, ours) * hsic(theirs, theirs))


def correlations(left: Array, right: Array) -> tuple[float, int, int]:
    """Sum of the squared canonical correlations, and the ranks."""
    bases = []
    for block in (left, right):
        vectors, values, _ = np.linalg.svd(block - block.mean(axis=0), full_matrices=False)
        bases.append(vectors[:, values > 1e-6 * values[0]])
    found = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float((found**2).sum()), bases[0].shape[1], bases[1].shape[1]


def slow_gcd(left: Array, right: Array) -> float:
    total, ours, theirs = correlations(left, right)
    return total / np.sqrt(ours * theirs)


def slow_cca(left: Array, right: Array) -> float:
    total, ours, theirs = correlations(left, right)
    return total / min(ours, theirs)


def test_linear_metrics_are_those_of_slow_numpy(features: list[torch.Tensor]) -> None:
    moments = streamed(features, batch=7)
    gcd, cca = gcd_and_cca(moments)
    assert np.abs(linear_cka(moments) - pairs(features, slow_cka)).max() < 1e-10
    assert np.abs(gcd - pairs(features, slow_gcd)).max() < 1e-10
    assert np.abs(cca - pairs(features, slow_cca)).max() < 1e-10


def test_gaussian_kernels_are_those_of_slow_numpy(
    features: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "ROWS", 12)  # rows are held in three parts
    few = [block[:30] for block in features]
    assert np.abs(rbf_cka(few) - pairs(few, slow_rbf)).max() < 1e-10
    with pytest.raises(UsageError, match=r"found 2,001 images, expected 2,000 at most"):
        rbf_cka([torch.zeros(2001, 2)])


def test_streamed_moments_are_those_of_the_whole(features: list[torch.Tensor]) -> None:
    together = torch.cat(features, dim=1)
    centred = together - together.mean(dim=0)
    for batch in (1, 13, IMAGES):
        moments = streamed(features, batch)
        assert moments.images == IMAGES
        torch.testing.assert_close(moments.centred(), centred.T @ centred, rtol=0, atol=1e-10)


def test_a_large_mean_costs_no_digits() -> None:
    far = torch.randn(200, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    near = linear_cka(streamed([far, far.square()], batch=20))
    assert np.abs(linear_cka(streamed([far + 1e7, far.square() + 1e7], batch=20)) - near).max() < 1e-7


def test_a_channel_said_twice_counts_once_and_cca_sees_no_scale(features: list[torch.Tensor]) -> None:
    block = features[0]
    doubled = torch.cat([block, block[:, :2]], dim=1)
    gcd, cca = gcd_and_cca(streamed([block, doubled, block * torch.tensor([1.0, 2, 30, 0.1, 5])]))
    assert np.allclose(gcd, 1, atol=1e-9)
    assert np.allclose(cca, 1, atol=1e-9)


def test_of_unequal_ranks_gcd_is_an_inner_product_and_printed_cca_is_none(features: list[torch.Tensor]) -> None:
    wide = torch.randn(IMAGES, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    parts = [wide, *(wide[:, start : start + 4] for start in range(0, 16, 4))]
    gcd, cca = gcd_and_cca(streamed(parts))
    assert np.allclose(gcd[0, 1:], 0.5)  # all of the narrow one in the wide one: root of 4 / 16
    assert np.allclose(cca[0, 1:], 1)
    assert np.linalg.eigvalsh(gcd)[0] > -1e-9
    assert np.linalg.eigvalsh(cca)[0] < -0.5


def test_what_cannot_be_compared_is_refused_in_words(features: list[torch.Tensor]) -> None:
    still = [features[0], torch.ones(IMAGES, 3)]
    for compare in (lambda: linear_cka(streamed(still)), lambda: gcd_and_cca(streamed(still)), lambda: rbf_cka(still)):
        with pytest.raises(WorkFailed, match="block 2 of the teacher gives the same for every image"):
            compare()
    with pytest.raises(UsageError, match=r"8 channels can tell of 9 images, .* --images 80 or more"):
        gcd_and_cca(streamed([block[:9] for block in features]))
    with pytest.raises(UsageError, match="30,000 channels together"):
        Moments((10_000, 20_000))
