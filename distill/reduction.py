"""Values of a whole batch from the parts that several processes hold; without such processes, the values themselves.

Neither function carries a gradient or makes the host wait for a GPU.
"""

import torch
import torch.distributed
from torch import Tensor


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean over the processes, which hold equally many images each."""
    if not _several():
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def minimum_over_processes(value: Tensor) -> Tensor:
    """Smallest value of any process."""
    if not _several():
        return value
    smallest = value.detach().clone()
    torch.distributed.all_reduce(smallest, torch.distributed.ReduceOp.MIN)
    return smallest


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
