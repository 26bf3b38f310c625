"""Preprocess: the only definition of how pixels become a network's input.

It has two halves. Decoded pixels are resized and divided by 255 on the host, here and in the app, by the rule of
`Preprocess.resize_image`. Mean and standard deviation are applied inside the network (`distill.vision.models`), so they
travel in every exported graph. This module needs NumPy and Pillow only.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from distill.contract import Strict

ResizeRule = Literal["stretch", "crop"]


class Preprocess(Strict):
    """From a decoded picture to the network's input.

    Attributes:
        size_px: the network sees size_px x size_px.
        resize: `stretch` scales both sides to size_px; `crop` cuts the centre square, then scales it.
            Both interpolate bilinearly with antialiasing (Pillow's BILINEAR on uint8).
        channels: 1 = greyscale, 3 = RGB. One-channel input is widened to three inside the network.
        mean, std: one value per channel, for inputs in [0, 1]; applied inside the network.
    """

    size_px: Annotated[int, Field(ge=8, le=2048)]
    resize: ResizeRule = "stretch"
    channels: Literal[1, 3]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "Preprocess":
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std need {self.channels} value(s), one per channel; "
                f"found {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, found {min(self.std)}")
        return self

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one network input."""
        return (self.channels, self.size_px, self.size_px)

    def resize_image(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture of mode L or RGB, as `distill.vision.pictures.decode` gives it, of any size.

        Returns uint8 [size_px, size_px, channels]; raises ValueError for another mode, whose meaning would get lost.
        """
        mode = "L" if self.channels == 1 else "RGB"
        if picture.mode not in ("L", "RGB"):
            raise ValueError(f"a picture of mode {picture.mode}; decode it with distill.vision.pictures")
        if picture.mode != mode:
            picture = picture.convert(mode)
        size = self.size_px
        if self.resize == "crop":
            picture = _centre_square(picture)
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(size, size, self.channels)

    def resize_truth(self, truth: Image.Image) -> NDArray[Any]:
        """What is true of every pixel of a picture (mode L, I;16 or F), as `resize_image` places the picture.

        Every pixel takes the value of the nearest one: classes have no mean, and depth at an edge has none either.
        Returns [size_px, size_px] of the mode's type.
        """
        size = self.size_px
        if self.resize == "crop":
            truth = _centre_square(truth)
        if truth.size != (size, size):
            truth = truth.resize((size, size), Image.Resampling.NEAREST)
        return np.asarray(truth)

    def resize_truths(self, truths: NDArray[Any]) -> NDArray[Any]:
        """Truths [N, H, W] of type uint8 or float32 as [N, size_px, size_px]; a no-op if they already are."""
        if truths.shape[1:] == (self.size_px, self.size_px):
            return truths
        return np.stack([self.resize_truth(Image.fromarray(truth)) for truth in truths])

    def resize_batch(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C] as uint8 [N, size_px, size_px, channels]; a no-op if they already are."""
        if images.shape[1:] == (self.size_px, self.size_px, self.channels):
            return images
        pictures = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images)
        return np.stack([self.resize_image(picture) for picture in pictures])

    def to_input(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 [N, H, W, C] as network input float32 [N, channels, size_px, size_px] in [0, 1]."""
        pixels = self.resize_batch(images).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)


def _centre_square(picture: Image.Image) -> Image.Image:
    """The largest square around the centre; an odd pixel too many is left at the right or bottom."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))
