"""Values of a whole batch from the parts that several processes hold; without such processes, the values themselves.

None of them makes the host wait for a GPU.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean over the processes, which hold equally many images each; carries no gradient."""
    if not _several():
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def minimum_over_processes(value: Tensor) -> Tensor:
    """Smallest value of any process; carries no gradient."""
    if not _several():
        return value
    smallest = value.detach().clone()
    torch.distributed.all_reduce(smallest, torch.distributed.ReduceOp.MIN)
    return smallest


def gathered(values: Tensor) -> Tensor:
    """Values [B, ...] of the whole batch, in its order, from every process's own [B / processes, ...]; with gradient.

    For losses that relate images to one another: every process computes the loss of the whole batch from the gathered
    values. The gradient of its own values is the sum of what all processes found for them, and the mean over processes
    that averages the parameters' gradients then gives those of the whole batch.
    """
    if not _several():
        return values
    return _Gathered.apply(values)  # pyright: ignore[reportReturnType]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.contiguous()
        whole = values.new_empty((torch.distributed.get_world_size() * len(values), *values.shape[1:]))
        torch.distributed.all_gather(list(whole.chunk(torch.distributed.get_world_size())), values)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
