"""Preprocess: the only definition of how pixels become a network's input.

It has two halves. Decoded pixels are resized and divided by 255 on the host, here and in the app, by the rule of
`Preprocess.resize_image`. Mean and standard deviation are applied inside the network (`distill.vision.models`), so they
travel in every exported graph. This module needs NumPy and Pillow only.
"""

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from distill.contract import Strict

ResizeRule = Literal["stretch", "crop"]
Interpolation = Literal["bilinear", "bicubic"]

FILTERS: dict[Interpolation, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, or parts of them."""


class Preprocess(Strict):
    """From a decoded picture to the network's input.

    Attributes:
        size_px: the network sees size_px x size_px.
        resize: `stretch` scales both sides to size_px; `crop` keeps the centre square.
        crop_share: what `crop` keeps of that square, as a share of its side. None cuts the square, then scales it. A
            share, 1 too, is the rule that timm and torchvision judge published weights by: the shorter side is scaled
            to size_px / crop_share, and the centre of that is cut, so that the filter sees what lies around the cut.
        interpolation: Pillow's filter of that name on uint8, with antialiasing.
        channels: 1 = greyscale, 3 = RGB. One-channel input is widened to three inside the network.
        mean, std: one value per channel, for inputs in [0, 1]; applied inside the network.
    """

    size_px: Annotated[int, Field(ge=8, le=2048)]
    resize: ResizeRule = "stretch"
    crop_share: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Interpolation = "bilinear"
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

    @model_validator(mode="after")
    def _only_a_crop_has_a_share(self) -> "Preprocess":
        if self.crop_share is not None and self.resize != "crop":
            raise ValueError(f"crop_share {self.crop_share:g} has no effect with resize {self.resize}; leave it out")
        return self

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one network input."""
        return (self.channels, self.size_px, self.size_px)

    def places_like(self, other: "Preprocess") -> bool:
        """Whether both make the same pixels of any picture."""
        only_inside = {"mean", "std"}
        return self.model_dump(exclude=only_inside) == other.model_dump(exclude=only_inside)

    def resize_image(self, picture: Image.Image) -> NDArray[np.uint8]:
        """A picture of mode L or RGB, as `distill.vision.pictures.decode` gives it, of any size.

        Returns uint8 [size_px, size_px, channels]; raises ValueError for another mode, whose meaning would get lost.
        """
        if picture.mode not in ("L", "RGB"):
            raise ValueError(f"a picture of mode {picture.mode}; decode it with distill.vision.pictures")
        return self.pixels(self.scaled(picture.convert(self.mode), FILTERS[self.interpolation]))

    def pixels(self, scaled: Image.Image) -> NDArray[np.uint8]:
        """A picture that has the network's size as uint8 [size_px, size_px, channels]."""
        return np.asarray(scaled.convert(self.mode), dtype=np.uint8).reshape(self.size_px, self.size_px, self.channels)

    @property
    def mode(self) -> Literal["L", "RGB"]:
        """Pillow's name for pictures with these channels."""
        return "L" if self.channels == 1 else "RGB"

    def scaled(self, picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
        """The part of a picture that the network sees, at its size, resampled in any way."""
        size, box = (self.size_px, self.size_px), self.seen_box(*picture.size)
        if self.crop_share is not None:
            return picture.resize(size, resampling, box=box)
        cut = picture.crop(box) if self.resize == "crop" else picture
        return cut if cut.size == size else cut.resize(size, resampling)

    def seen_box(self, width: int, height: int) -> Box:
        """What of a picture of this size the network sees."""
        if self.resize == "stretch":
            return 0.0, 0.0, float(width), float(height)
        if self.crop_share is not None:
            return centre_box(width, height, self.size_px, self.crop_share)
        # Of an odd pixel too many the one at the right or bottom is left out.
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return float(left), float(top), float(left + side), float(top + side)

    def resize_truth(self, truth: Image.Image) -> NDArray[Any]:
        """What is true of every pixel of a picture (mode L, I;16 or F), as `resize_image` places the picture.

        Every pixel takes the value of the nearest one: classes have no mean, and depth at an edge has none either.
        Returns [size_px, size_px] of the mode's type.
        """
        return np.asarray(self.scaled(truth, Image.Resampling.NEAREST))

    def resize_truths(self, truths: NDArray[Any]) -> NDArray[Any]:
        """Truths [N, H, W] of type uint8 or float32 as [N, size_px, size_px]; a no-op if they already are."""
        if truths.shape[1:] == (self.size_px, self.size_px):
            return truths
        return np.stack([self.resize_truth(Image.fromarray(truth)) for truth in truths])

    def resize_batch(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C] as uint8 [N, size_px, size_px, channels]; a no-op if they already are.

        Images of that size count as resized, also under a `crop_share`.
        """
        if images.shape[1:] == (self.size_px, self.size_px, self.channels):
            return images
        pictures = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images)
        return np.stack([self.resize_image(picture) for picture in pictures])

    def to_input(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 [N, H, W, C] as network input float32 [N, channels, size_px, size_px] in [0, 1]."""
        pixels = self.resize_batch(images).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)


def centre_box(width: int, height: int, size_px: int, crop_share: float) -> Box:
    """What of a picture is seen if its shorter side is scaled to size_px / crop_share and the centre of that is cut.

    Scaling this box to size_px is the same, but for the last bits of the filter, and never holds the whole picture at
    its new size. Sides of the scaled picture and the place of the cut are whole pixels, as torchvision's `Resize` and
    `CenterCrop` round them.
    """
    shorter = math.floor(size_px / crop_share)
    scaled_width = shorter if width <= height else shorter * width // height
    scaled_height = shorter if height <= width else shorter * height // width
    left, right = _centre(width, scaled_width, size_px)
    top, bottom = _centre(height, scaled_height, size_px)
    return left, top, right, bottom


def _centre(side: int, scaled: int, size_px: int) -> tuple[float, float]:
    """Ends of the centre size_px of a scaled side, in pixels of the side."""
    first = round((scaled - size_px) / 2)
    return first * side / scaled, min(float(side), (first + size_px) * side / scaled)
