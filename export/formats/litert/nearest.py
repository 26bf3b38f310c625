"""Enlarging by nearest neighbour, exactly: LiteRT's own operation is off by half a pixel unless each pixel becomes a
whole number of pixels.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from litert_torch import fx_infra
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


@contextmanager
def exact_nearest(model: torch.nn.Module, example: Tensor) -> Generator[None]:
    """While open, litert-torch converts every such operation of a model by gathering rows and columns, if it must.

    A model that enlarges to whole pixels only is converted as ever.
    """
    if not _Ratios().any_fraction(model, example):
        yield
        return
    fx_infra.decomp.add_pre_convert_decomp(aten.upsample_nearest2d.vec, gathered)
    try:
        yield
    finally:
        fx_infra.decomp.remove_pre_convert_decomp(aten.upsample_nearest2d.vec)


def gathered(images: Tensor, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None) -> Tensor:
    """`aten.upsample_nearest2d.vec` of [N, C, H, W] by the rows and columns that PyTorch takes.

    Which ones is computed in the graph, where the converter folds it: of constants that come with a decomposition it
    loses some (litert-torch 0.10.0).
    """
    for axis, old in enumerate(images.shape[-2:]):
        factor = None if scale_factors is None else scale_factors[axis]
        new = int(old * factor) if factor is not None else int((output_size or ())[axis])
        images = images.index_select(2 + axis, sources(int(old), new, factor))
    return images


def sources(old: int, new: int, factor: float | None) -> Tensor:
    """Which of `old` pixels each of `new` ones shows, in the single precision that PyTorch's kernel computes in.

    A factor has no say where the size stays or doubles (`nearest_idx` of ATen).
    """
    step = np.float32(old) / np.float32(new)
    if factor is not None and new not in (old, 2 * old):
        step = np.float32(1 / factor)
    return (torch.arange(new, dtype=torch.float32) * float(step)).to(torch.int64).clamp(max=old - 1)


class _Ratios(TorchDispatchMode):
    """Notes whether a picture is enlarged to a size that is no multiple of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._found = False

    def any_fraction(self, model: torch.nn.Module, example: Tensor) -> bool:
        """Run a model once."""
        with torch.no_grad(), self:
            model(example)
        return self._found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is aten.upsample_nearest2d.default:
            sizes = zip(result.shape[-2:], args[0].shape[-2:], strict=True)
            self._found = self._found or any(new % old for new, old in sizes)
        return result
