"""Networks whose branches a convolution can take up: trained with them, deployed without.

MobileOne, RepVGG, RepViT, FastViT, GhostNetV3 and their like bring methods that fold: `fuse`, `reparameterize` or
`switch_to_deploy`, the names that timm looks for.
"""

from typing import TypeVar

import torch
from torch import nn

FOLDING = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods of a module that fold its branches."""

M = TypeVar("M", bound=nn.Module)


def folded(network: M) -> M:
    """A copy in eval mode whose branches are folded, unproven; the very network if it has none that can be."""
    if not any(callable(getattr(module, name, None)) for module in network.modules() for name in FOLDING):
        return network
    from timm.utils.model import reparameterize_model

    with torch.no_grad():
        result = reparameterize_model(network)
    return result.eval()  # pyright: ignore[reportReturnType]
