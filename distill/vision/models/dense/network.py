"""What networks for every pixel have in common: where they are tapped, and a head that only training needs."""

from functools import cached_property

from torch import Tensor, nn

from distill.vision.models.stage_ends import measured

NORM_MOMENTUM = 0.1
"""Of running statistics. Libraries have less for mobile networks, for hundreds of epochs (`mobilenet_v3`)."""


class DenseNetwork(nn.Module):
    """Base: normalised images [B, 3, H, W] -> one answer for every pixel, [B, outputs, H, W].

    Attributes:
        encoder_path: of the module inside, whose stage ends are the network's.
        pooled_path: what goes into the last convolution, `pooled` by name: the map that the answer is read from.
        auxiliary: what an auxiliary head answered in the last call in train mode; None without one.
    """

    encoder_path: str
    pooled_path: str

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary: Tensor | None = None

    @cached_property
    def stage_end_paths(self) -> tuple[str, ...]:
        """The last map of the encoder at each of its resolutions, from a quarter on."""
        return tuple(f"{self.encoder_path}.{path}" for path in measured(self.get_submodule(self.encoder_path)))

    def leave_small(self) -> None:
        """From now on answer at the size of the map that the answer is read from; parameters stay as they are."""
        raise NotImplementedError

    def take_auxiliary(self) -> Tensor | None:
        """What the auxiliary head has answered, kept no longer."""
        answer, self.auxiliary = self.auxiliary, None
        return answer


def with_usual_norms(network: nn.Module) -> None:
    """Let running statistics of batch normalisation follow as fast as PyTorch's do by default."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
