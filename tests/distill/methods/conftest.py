"""Slow NumPy twins of what the losses are made of, and logits to try them on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


@pytest.fixture
def logits() -> Callable[..., torch.Tensor]:
    """A function that draws float64 logits of a shape."""

    def draw(*shape: int, seed: int, scale: float = 3.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return draw


@pytest.fixture
def softmax() -> Callable[..., Array]:
    """One distribution from one row of logits."""

    def of_row(row: Array, temperature: float = 1.0) -> Array:
        powers = np.exp(row / temperature)
        return powers / powers.sum()

    return of_row


@pytest.fixture
def divergence() -> Callable[[Array, Array], float]:
    """KL(p || q) in nats."""

    def of_rows(p: Array, q: Array) -> float:
        return float(sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True)))

    return of_rows
