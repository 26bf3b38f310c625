"""Operations that a converter does not know, or of which it forgets a factor, by those that it knows.

They change a number by a rounding at most: PyTorch's own kernels may fuse the product with the sum.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _addcmul(x: Tensor, y: Tensor, z: Tensor, *, value: float = 1) -> Tensor:
    product = y * z
    return x + (product if value == 1 else product * value)


def _addcdiv(x: Tensor, y: Tensor, z: Tensor, *, value: float = 1) -> Tensor:
    quotient = y / z
    return x + (quotient if value == 1 else quotient * value)


def _add(x: Any, y: Any, *, alpha: float = 1) -> Any:
    return NotImplemented if alpha == 1 else x + y * alpha


def _sub(x: Any, y: Any, *, alpha: float = 1) -> Any:
    return NotImplemented if alpha == 1 else x - y * alpha


TAKEN_APART: Mapping[Any, Callable[..., Any]] = {
    aten.addcmul.default: _addcmul,
    aten.addcdiv.default: _addcdiv,
    aten.add.Tensor: _add,
    aten.sub.Tensor: _sub,
}
"""As `run_decompositions` takes them; one that returns NotImplemented leaves the operation as it is."""
