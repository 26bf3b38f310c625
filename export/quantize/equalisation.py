"""Cross-layer equalisation: channels between two layers are brought to one scale, and the network stays the same.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721).
Deviations: with one weight scale per channel it is the activation between two layers, quantized per tensor, that
suffers from unequal channels, so that is what is equalised; and factors are powers of two, so that not a bit of the
float network's answers changes.
"""

import torch
from torch import Tensor, nn
from torch.fx import Node

from export.graph.layers import RELUS, GraphLayer, Traced, is_convolution

LARGEST_EXPONENT = 16
"""No channel is scaled by more than 2^16 either way: one that is hardly ever active should not become the loudest."""


def equalise(model: nn.Module, traced: Traced) -> int:
    """Scale channels between convolution–batch norm–ReLU (or nothing)–convolution pairs of `model`, in place.

    Args:
        model: in eval mode; the one that was traced, or a copy of it.
        traced: its graph.

    Returns:
        How many pairs were found.
    """
    pairs = find_pairs(model, traced)
    for first, second in pairs:
        assert first.batch_norm is not None
        norm, following = model.get_submodule(first.batch_norm), model.get_submodule(second.name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(following, nn.Conv2d)
        _scale(norm, following, factors(norm, following))
    return len(pairs)


def find_pairs(model: nn.Module, traced: Traced) -> list[tuple[GraphLayer, GraphLayer]]:
    """Neighbours whose channels in between can be scaled freely: nothing else reads them, and ReLU commutes."""
    names = [layer.name for layer in traced.layers]
    norms = [layer.batch_norm for layer in traced.layers]
    by_source = {layer.source: layer for layer in traced.layers}
    pairs: list[tuple[GraphLayer, GraphLayer]] = []
    for first in traced.layers:
        second = by_source.get(first.result)
        if second is None or not (is_convolution(first.node) and is_convolution(second.node)):
            continue
        once = names.count(second.name) == 1 and norms.count(first.batch_norm) == 1
        if once and _commutes(first.activation) and len(first.result.users) == 1 and _fits(model, first, second):
            pairs.append((first, second))
    return pairs


def factors(norm: nn.BatchNorm2d, following: nn.Conv2d) -> Tensor:
    """Powers of two [C] that the channels behind `norm` are divided by, and the weights of `following` multiplied by.

    What a channel reaches is taken as |beta| + 3 |gamma|, which is where a normal variable with the moments that the
    normalisation gives it ends. A depthwise convolution has a scale for each of them, so they become equal; any other
    has one for all of them, so half of the difference (in powers of two) moves into its weights.
    """
    reach = norm.bias.detach().abs() + 3 * norm.weight.detach().abs()
    weight = following.weight.detach().abs()
    if following.groups == 1:
        reach = (reach * _typical(weight.amax((0, 2, 3))) / weight.amax((0, 2, 3)).clamp_min(1e-12)).sqrt()
    exponent = torch.log2(reach.clamp_min(1e-12) / _typical(reach)).round()
    return torch.exp2(exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))


def _typical(values: Tensor) -> Tensor:
    return values.median().clamp_min(1e-12)


def _scale(norm: nn.BatchNorm2d, following: nn.Conv2d, factor: Tensor) -> None:
    """Divide the channels behind `norm` and multiply the weights that read them."""
    with torch.no_grad():
        norm.weight.div_(factor)
        norm.bias.div_(factor)
        shape = (1, -1, 1, 1) if following.groups == 1 else (-1, 1, 1, 1)
        following.weight.mul_(factor.reshape(shape))


def _commutes(activation: Node | None) -> bool:
    return activation is None or activation.target in RELUS


def _fits(model: nn.Module, first: GraphLayer, second: GraphLayer) -> bool:
    """An affine batch norm, and a convolution that reads each channel with weights of its own."""
    if first.batch_norm is None:
        return False
    norm, following = model.get_submodule(first.batch_norm), model.get_submodule(second.name)
    if not isinstance(norm, nn.BatchNorm2d) or not norm.affine or not isinstance(following, nn.Conv2d):
        return False
    depthwise = following.groups == following.in_channels == following.out_channels
    return following.padding_mode == "zeros" and (following.groups == 1 or depthwise)
