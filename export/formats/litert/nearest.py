"""Enlarging by nearest neighbour, exactly: LiteRT's own operation is off by half a pixel unless each pixel becomes a
whole number of pixels.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from export.graph.picking import picking_matrix, picking_name, shown_places


@contextmanager
def exact_nearest(model: torch.nn.Module, example: Tensor) -> Generator[None]:
    """While open, a model enlarges by products that pick rows and columns where LiteRT's operation would be off.

    The products' matrices, of zeros and a one in each row, are buffers of the model from then on: of constants that a
    decomposition brings along, litert-torch 0.10.0 loses some, and an index that is computed is one at every inference.

    Args:
        model: in eval mode; its `forward` is replaced meanwhile.
        example: what it is called with.
    """
    picking = _Picking(model)
    with torch.no_grad(), picking:
        model(example)
    if not picking.matrices:
        yield
        return
    plain: Callable[[Tensor], Tensor] = model.forward

    def picked(images: Tensor) -> Tensor:
        with picking:
            return plain(images)

    model.forward = picked
    try:
        yield
    finally:
        del model.forward


class _Picking(TorchFunctionMode):
    """Notes where a model enlarges to a size that is no multiple, and picks pixels there when it runs again.

    Attributes:
        matrices: names of the buffers for columns and rows, by what was asked for.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model
        self.matrices: dict[str, tuple[str, str]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.interpolate or not _is_nearest(*args, **kwargs):
            return func(*args, **kwargs)
        images, *settings = args
        asked = f"{tuple(images.shape[-2:])} {settings} {sorted(kwargs.items())}"
        if asked in self.matrices:
            columns, rows = (self._model.get_buffer(name) for name in self.matrices[asked])
            return F.linear(F.linear(images, columns).mT, rows).mT
        height, width = images.shape[-2:]
        columns, rows = shown_places(func, (height, width), *settings, **kwargs)
        if len(columns) % width or len(rows) % height:
            self.matrices[asked] = self._keep(columns, width), self._keep(rows, height)
        return func(images, *settings, **kwargs)

    def _keep(self, places: Tensor, size: int) -> str:
        """A buffer that picks some of `size` places."""
        name = picking_name(places, size)
        self._model.register_buffer(name, picking_matrix(places, size))
        return name


def _is_nearest(images: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any) -> bool:
    """Of the arguments of `interpolate`: whether it is this operation, on pictures [N, C, H, W]."""
    return mode == "nearest" and images.dim() == 4
