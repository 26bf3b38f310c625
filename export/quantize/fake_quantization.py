"""Quantization imitated in float on the exported graph: what integers would change, without any toolchain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from export.graph.layers import GraphLayer, Traced
from export.quantize.ranges import Histogram, Range
from export.quantize.recipe import QuantizationRecipe

WEIGHT_STEPS = 127
ACTIVATION_LEVELS = 256


def fake_weight(weight: Tensor, *, per_channel: bool) -> Tensor:
    """Weights [out, ...] as symmetric int8 would keep them, one scale per output channel or one for all.

    A batch normalisation folded into the layer scales whole output channels, so per channel the result is the same
    with and without folding.
    """
    magnitude = weight.abs()
    largest = magnitude.flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1)) if per_channel else magnitude.max()
    scale = (largest / WEIGHT_STEPS).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale).round() * scale


def fake_activation(values: Tensor, bounds: Range) -> Tensor:
    """Values as an affine 8-bit tensor of that range would keep them; the range holds zero, and zero stays exact."""
    low, high = bounds
    scale = max(high - low, 1e-30) / (ACTIVATION_LEVELS - 1)
    zero = round(-low / scale)
    return ((values / scale).round().clamp(-zero, ACTIVATION_LEVELS - 1 - zero)) * scale


@dataclass(frozen=True)
class Ranges:
    """Ranges of what each layer reads and gives, by layer name."""

    sources: Mapping[str, Range]
    results: Mapping[str, Range]


def find_ranges(traced: Traced, images: Tensor, recipe: QuantizationRecipe) -> Ranges:
    """Run calibration images [N, C, H, W] in float and find every range by the recipe's calibrator."""
    watch = _Watch(traced)
    with torch.inference_mode():
        for part in traced.batches(images):
            watch.run(part)
    ranges = {node: recipe.range_of(histogram) for node, histogram in watch.seen.items()}
    return Ranges(
        {layer.name: ranges[layer.source] for layer in traced.layers},
        {layer.name: ranges[layer.result] for layer in traced.layers},
    )


class _Watch(Interpreter):
    """Runs the graph in float and counts the values around every layer."""

    def __init__(self, traced: Traced) -> None:
        super().__init__(traced.graph)
        self.seen = {node: Histogram() for layer in traced.layers for node in (layer.source, layer.result)}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n in self.seen:
            self.seen[n].add(value.numpy())
        return value


class OneLayerQuantized(Interpreter):
    """Runs the graph with the weights, the input and the result of one layer quantized, and all else in float."""

    def __init__(self, traced: Traced, layer: GraphLayer, ranges: Ranges, *, per_channel: bool) -> None:
        super().__init__(traced.graph)
        self.layer, self.ranges, self.per_channel = layer, ranges, per_channel

    def run_node(self, n: Node) -> Any:
        """See the class."""
        layer = self.layer
        if n is layer.node:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            value = quantized_call(n, args, kwargs, self.ranges.sources[layer.name], per_channel=self.per_channel)
        else:
            value = super().run_node(n)
        return fake_activation(value, self.ranges.results[layer.name]) if n is layer.result else value


def quantized_call(
    node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], source: Range, *, per_channel: bool
) -> Tensor:
    """A layer's operation on quantized input and weights; its bias and its result stay in float."""
    images, weight, *rest = args
    assert callable(node.target)
    return node.target(
        fake_activation(images, source), fake_weight(weight, per_channel=per_channel), *rest, **dict(kwargs)
    )
