"""Stochastic depth: while a network trains, an image passes some of its residual blocks by the shortcut alone."""

from torch import nn

from distill.errors import UsageError

IN_TIMM = ("drop_path", "drop_path1", "drop_path2")
"""Where timm's blocks keep it; an identity where a network is built without."""


def set_stochastic_depth(network: nn.Module, rate: float) -> None:
    """Drop the residual branches of a network that knows stochastic depth, the later the oftener.

    Block l of L is left out for an image with probability rate * l / L (Huang et al. 2016, arXiv:1603.09382, section 3,
    linear decay); what remains is divided by the probability to remain, so that nothing changes for inference.

    Args:
        network: one of torchvision's or timm's; its weights and their names stay as they are.
        rate: of the last block, in [0, 1).

    Raises:
        UsageError: the network has no such blocks.
    """
    blocks = [(module, places) for module in network.modules() if (places := _places(module))]
    if not blocks:
        raise UsageError(
            f"training.stochastic_depth={rate:g}: {type(network).__name__} has no residual blocks that can be left "
            "out. EfficientNet-Lite, timm's networks with drop_path and torchvision's with StochasticDepth have some; "
            "for others leave it out."
        )
    from timm.layers.drop import DropPath  # two seconds that other runs do not need

    for number, (block, places) in enumerate(blocks, start=1):
        for place in places:
            setattr(block, place, DropPath(rate * number / len(blocks)))


def _places(module: nn.Module) -> list[str]:
    """Names under which a residual block keeps what may leave its branch out."""
    from torchvision.ops import StochasticDepth

    # Blocks that change size or width have no shortcut in either library, but a place that is never used.
    if not getattr(module, "has_skip", True) or not getattr(module, "use_res_connect", True):
        return []
    timm = {name for name in IN_TIMM if isinstance(getattr(module, name, None), nn.Module)}
    return [name for name, child in module.named_children() if name in timm or isinstance(child, StochasticDepth)]
