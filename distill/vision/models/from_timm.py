"""Students that timm builds: a name there, and what is known of it here."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class FromTimm:
    """The builder of one network of timm's; called as every builder of `MODELS` is.

    Attributes:
        name: in timm, without a tag.
        words: one sentence for lists: what it is, and its parameters with 10 classes.
    """

    name: str
    words: str

    @property
    def __doc__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What a function of a builder would say of itself."""
        return self.words

    def __call__(self, num_classes: int, size_px: int | None = None) -> nn.Module:
        """A freshly initialised network.

        Args:
            num_classes: width of the output.
            size_px: of the images, for a network that is made for one size; None = the published one.
        """
        return create(self.name, num_classes, size_px)


def create(name: str, num_classes: int, size_px: int | None = None) -> nn.Module:
    """A network of timm's for RGB pictures, for pictures of `size_px` if it is made for one size."""
    import timm  # two seconds that the other networks do not need

    published = timm.get_pretrained_cfg(name)
    fixed = published is not None and published.fixed_input_size and size_px not in (None, published.input_size[-1])
    size: dict[str, Any] = {"img_size": size_px} if fixed else {}
    return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=3, **size)
