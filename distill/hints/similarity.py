"""How alike two blocks are, from their pooled features over the same images: CKA, GCD and mean squared CCA.

The linear ones need no more than the moments of all features together, which are added up batch by batch; nothing grows
with the number of images. CKA and GCD are inner products of unit vectors, one for each block (its centred Gram matrix
over its norm, its projector over the root of its rank), so blocks can be averaged and clustered by them. Mean squared
CCA as the paper prints it is none between blocks of unequal rank; there it is larger than the GCD by the root of the
ratio of the ranks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import UsageError, WorkFailed

Matrix = NDArray[np.float64]

WIDEST = 24_576
"""Channels of all blocks together whose moments, 8 bytes for every two of them, still fit a usual memory (4.8 GB)."""

MOST_IMAGES_OF_RBF = 2_000
"""Kornblith's kernel compares every image with every other one."""

RANK_TOLERANCE = 1e-6
"""Directions whose singular value is less than this share of the largest do not count."""

RBF_BANDWIDTH = 0.8
"""Of the median distance between two images; of 0.2, 0.4 and 0.8 the one that served Kornblith et al. 2019 best."""

ROWS = 64


class Moments:
    """Sums over images of features and of their products, in float64, of several blocks together.

    Attributes:
        widths: channels of each block.
        images: how many were added.
    """

    def __init__(self, widths: Sequence[int], *, device: torch.device | None = None) -> None:
        self.widths = tuple(widths)
        total = sum(widths)
        if total > WIDEST:
            raise UsageError(
                f"the blocks have {total:,} channels together; the linear metrics keep a number for every two of them, "
                f"of {WIDEST:,} at most. Use --metric cka-rbf, which keeps {MOST_IMAGES_OF_RBF:,} images instead."
            )
        self.images = 0
        self._near: Tensor | None = None
        self._sums = torch.zeros(total, dtype=torch.float64, device=device)
        self._products = torch.zeros(total, total, dtype=torch.float64, device=device)

    def add(self, features: Tensor) -> None:
        """Add a batch: float [B, sum of the widths]."""
        features = features.to(torch.float64)
        if self._near is None:  # sums of differences from a point nearby lose no digits to a large mean
            self._near = features.mean(dim=0)
        features = features - self._near
        self.images += len(features)
        self._sums += features.sum(dim=0)
        self._products.addmm_(features.T, features)

    def centred(self) -> Tensor:
        """Sums of products of the features less their means: float64 [D, D], D the sum of the widths."""
        return self._products - torch.outer(self._sums, self._sums) / max(self.images, 1)


def linear_cka(moments: Moments) -> Matrix:
    """Centred kernel alignment of the linear kernel for every two blocks: [L, L] in [0, 1] (Kornblith et al. 2019).

    Raises:
        WorkFailed: a block gives the same for every image.
    """
    rows = moments.centred().split(list(moments.widths))
    squared = torch.stack([_squared_norms(row, moments.widths) for row in rows])
    return _of_unit_diagonal(squared)


def gcd_and_cca(moments: Moments) -> tuple[Matrix, Matrix]:
    """Yanai's GCD and mean squared CCA for every two blocks: [L, L] in [0, 1] each.

    The squared canonical correlations are added up, then divided by the root of the product of the ranks (GCD) or by
    the smaller rank (CCA, equation 3 of the paper).

    Raises:
        UsageError: no more images than a block has channels, of which any two blocks would be the same.
        WorkFailed: a block gives the same for every image.
    """
    widest = max(moments.widths)
    if moments.images <= widest + 1:
        raise UsageError(
            f"the metrics cca and gcd compare what {widest} channels can tell of {moments.images} images, which is "
            f"everything; expected more images than channels. Use --images {10 * widest} or more, or --metric cka."
        )
    centred = moments.centred()
    places = list(torch.arange(len(centred)).split(list(moments.widths)))
    bases = [_whitening(centred[place][:, place]) for place in places]
    _require_variation([base.shape[1] for base in bases])
    common = torch.zeros(len(places), len(places), dtype=torch.float64)
    for first, base in enumerate(bases):
        seen = base.T @ centred[places[first]]
        for second in range(first, len(bases)):
            common[first, second] = (seen[:, places[second]] @ bases[second]).square().sum()
    total = (common + common.triu(1).T).numpy()
    ranks = np.array([base.shape[1] for base in bases])
    return total / np.sqrt(np.outer(ranks, ranks)), total / np.minimum.outer(ranks, ranks)


def rbf_cka(features: Sequence[Tensor]) -> Matrix:
    """Centred kernel alignment of Gaussian kernels for every two blocks: [L, L] in [0, 1] (Kornblith et al. 2019).

    A kernel is as wide as `RBF_BANDWIDTH` says. A few rows of every block's kernel are held at a time, and all
    distances of one block.

    Args:
        features: of each block, float [N, C], of the same images.

    Raises:
        UsageError: more than `MOST_IMAGES_OF_RBF` images.
        WorkFailed: a block gives the same for every image.
    """
    images = len(features[0])
    if images > MOST_IMAGES_OF_RBF:
        raise UsageError(
            f"--metric cka-rbf compares every image with every other; found {images:,} images, expected "
            f"{MOST_IMAGES_OF_RBF:,} at most."
        )
    wide = [block.to(torch.float64) for block in features]
    scales = [_median_square(block) for block in wide]
    _require_variation(scales)
    scales = [RBF_BANDWIDTH**2 * scale for scale in scales]

    def kernel(block: int, rows: slice) -> Tensor:
        return torch.exp(-torch.cdist(wide[block][rows], wide[block]).square() / (2 * scales[block]))

    chunks = [slice(start, start + ROWS) for start in range(0, images, ROWS)]
    means = [torch.cat([kernel(block, rows).mean(dim=1) for rows in chunks]) for block in range(len(wide))]
    products = torch.zeros(len(wide), len(wide), dtype=torch.float64)
    for rows in chunks:
        slab = torch.stack(
            [
                (kernel(block, rows) - mean[rows, None] - mean + mean.mean()).flatten()
                for block, mean in enumerate(means)
            ]
        )
        products += slab @ slab.T
    return _of_unit_diagonal(products)


def _squared_norms(row: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Of the blocks of a stripe [C, D]: [L]."""
    return torch.stack([part.square().sum() for part in row.split(list(widths), dim=1)])


def _of_unit_diagonal(products: Tensor) -> Matrix:
    lengths = products.diagonal().sqrt()
    _require_variation(lengths.tolist())
    return (products / torch.outer(lengths, lengths)).cpu().numpy()


def _whitening(covariance: Tensor) -> Tensor:
    """[C, C] -> [C, rank]; features times it are orthonormal."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > RANK_TOLERANCE**2 * values[-1]
    return (vectors[:, kept] / values[kept].sqrt()) if values[-1] > 0 else vectors[:, :0]


def _median_square(block: Tensor) -> float:
    return float(torch.pdist(block).median()) ** 2


def _require_variation(amounts: Sequence[float]) -> None:
    """Raises WorkFailed for blocks whose variation is nothing or not finite."""
    still = [number for number, amount in enumerate(amounts, start=1) if not 0 < amount < float("inf")]
    if still:
        raise WorkFailed(
            f"block {', '.join(map(str, still))} of the teacher gives the same for every image, or no finite number, "
            "so nothing can be said of how alike blocks are. Are these the weights of a trained network?"
        )
