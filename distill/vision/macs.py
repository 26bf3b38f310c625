"""How much arithmetic one image costs, counted rather than looked up."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_macs(model: torch.nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulate operations of the convolutions, matrix products and attention for one image.

    Element-wise operations, normalisation and pooling are not counted, as in the tables of the networks' papers.

    Args:
        model: in eval mode; it is run once on zeros. On the device "meta" nothing is computed.
        input_shape: (C, H, W) of one image.
    """
    device = next((tensor.device for tensor in model.buffers()), None)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *input_shape, device=device))
    return counter.get_total_flops() // 2
