"""Losses are computed in float32, whatever the networks compute in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Half-precision values as float32; wider ones unchanged."""
    return values if values.dtype.itemsize >= 4 else values.float()


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """Within the block, matrix products on the device of these values are not rounded to half precision."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
