"""Values of a whole batch from the parts that several processes hold; without such processes, the values themselves.

None of them makes the host wait for a GPU.
"""

import torch
import torch.distributed
import torch.distributed.nn.functional
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
    return torch.cat(torch.distributed.nn.functional.all_gather(values))


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
