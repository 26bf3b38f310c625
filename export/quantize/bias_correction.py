"""Bias correction: what quantizing a layer adds to its mean output is taken off its bias.

After Nagel et al. 2019 (arXiv:1906.04721, section 4.2), in the variant that measures on images. Deviation: each layer
is measured with float input from the layers before it, so that one pass corrects them all.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node

from export.graph.layers import Traced, is_convolution, is_inside
from export.quantize.fake_quantization import Ranges, find_ranges, quantized_call
from export.quantize.recipe import QuantizationRecipe


def correct_bias(model: nn.Module, traced: Traced, images: Tensor, recipe: QuantizationRecipe) -> int:
    """Correct the layers that a recipe quantizes, in place.

    Args:
        model: in eval mode; the one that was traced, or a copy of it.
        traced: its graph.
        images: calibration images [N, C, H, W].
        recipe: says how weights and activations are quantized, and which layers are not.

    Returns:
        How many layers were corrected; one without bias and batch normalisation has no place for a correction.
    """
    shifts = mean_shifts(traced, images, find_ranges(traced, images, recipe), per_channel=recipe.per_channel)
    return sum(
        _subtract(model, layer.name, layer.batch_norm, shifts[layer.name])
        for layer in traced.layers
        if not is_inside(layer.name, recipe.float_layers)
        and _called_once(layer.name, (other.name for other in traced.layers))
    )


def mean_shifts(traced: Traced, images: Tensor, ranges: Ranges, *, per_channel: bool) -> dict[str, Tensor]:
    """Mean of (quantized - float) of each layer's own output, [out channels] by layer name."""
    run = _Compare(traced, ranges, per_channel=per_channel)
    calls = 0
    with torch.inference_mode():
        for part in traced.batches(images):
            run.run(part)
            calls += 1
    return {name: total / calls for name, total in run.totals.items()}


class _Compare(Interpreter):
    """Runs the graph in float, and each layer once more quantized on the side."""

    def __init__(self, traced: Traced, ranges: Ranges, *, per_channel: bool) -> None:
        super().__init__(traced.graph)
        self.names = {layer.node: layer.name for layer in traced.layers}
        self.ranges, self.per_channel = ranges, per_channel
        self.totals: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        name = self.names.get(n)
        if name is not None:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            quantized = quantized_call(n, args, kwargs, self.ranges.sources[name], per_channel=self.per_channel)
            difference = quantized - value
            over = (0, 2, 3) if is_convolution(n) else tuple(range(difference.dim() - 1))
            self.totals[name] = self.totals.get(name, 0) + difference.mean(over)
        return value


def _subtract(model: nn.Module, name: str, batch_norm: str | None, shift: Tensor) -> bool:
    """Take a shift off a layer's bias, or off the mean that its batch normalisation subtracts."""
    layer = model.get_submodule(name)
    with torch.no_grad():
        if batch_norm is not None:
            mean = model.get_submodule(batch_norm).get_buffer("running_mean")
            mean.add_(shift)
            return True
        bias = getattr(layer, "bias", None)
        if isinstance(bias, nn.Parameter):
            bias.sub_(shift)
            return True
    return False


def _called_once(name: str, names: Iterable[str]) -> bool:
    return sum(other == name for other in names) == 1
