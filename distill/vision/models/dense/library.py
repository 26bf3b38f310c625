"""Decoders and encoders of segmentation_models_pytorch, imported when one is asked for."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from distill.errors import UsageError
from distill.system import did_you_mean
from distill.vision.models.dense.network import DenseNetwork, with_usual_norms


class Library(DenseNetwork):
    """One of the library's networks; its head enlarges to the input's size."""

    encoder_path = "network.encoder"
    pooled_path = "network.segmentation_head.0:input"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        with_usual_norms(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> [B, outputs, H, W]; both sides must be multiples of its coarsest map's."""
        return self.network(images)

    def leave_small(self) -> None:
        """As `DenseNetwork.leave_small`: the head is a convolution, then what enlarges."""
        head = self.get_submodule("network.segmentation_head")
        assert isinstance(head, nn.Sequential)
        head[1] = nn.Identity()


def network(architecture: str, encoder: str, num_outputs: int, **settings: Any) -> nn.Module:
    """A network without weights, e.g. `unet` on `resnet18`.

    Raises:
        UsageError: the library is missing, or has no such architecture or encoder.
    """
    try:
        import segmentation_models_pytorch as library
        from segmentation_models_pytorch.base import SegmentationModel
    except ImportError as error:
        raise UsageError(
            f"{architecture} on {encoder} needs the package segmentation-models-pytorch, which is not installed "
            "(make setup brings it, as does the extra train)."
        ) from error
    known: dict[str, Callable[..., nn.Module]] = {
        each.__name__.lower(): each
        for each in vars(library).values()
        if isinstance(each, type) and issubclass(each, SegmentationModel)
    }
    if architecture not in known:
        raise UsageError(
            f"no architecture {architecture!r}{did_you_mean(architecture, known)} Known: {', '.join(known)}."
        )
    encoders = library.encoders.get_encoder_names()
    if encoder not in encoders and not encoder.startswith("tu-"):
        raise UsageError(
            f"no encoder {encoder!r}{did_you_mean(encoder, encoders)} timm's networks are encoders, too, as tu-NAME."
        )
    made = known[architecture](
        encoder_name=encoder, encoder_weights=None, in_channels=3, classes=num_outputs, **settings
    )
    return Library(made)


def builder(architecture: str, encoder: str) -> Callable[[int], nn.Module]:
    """Number of outputs -> a network without weights; errors as `network`."""

    def make(num_outputs: int) -> nn.Module:
        return network(architecture, encoder, num_outputs)

    make.__doc__ = f"{architecture} on {encoder}, of segmentation_models_pytorch."
    return make


def pspnet(encoder: str) -> Callable[[int], nn.Module]:
    """PSPNet (Zhao et al. 2017, arXiv:1612.01105) on the first three stages of an encoder, which end at an eighth.

    Deviation, the library's: the paper dilates the later stages to an eighth and pools their maps.
    """
    return builder("pspnet", encoder)


def named(name: str) -> Callable[[int], nn.Module]:
    """The builder of `ARCHITECTURE:ENCODER`; errors as `network`."""
    architecture, _, encoder = name.partition(":")
    return builder(architecture.lower(), encoder or "resnet18")
