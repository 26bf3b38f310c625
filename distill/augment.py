"""Random views of training images, on the training device.

What a view is made of is drawn on the CPU and for the images of all processes, so a run sees the same views on every
device and on any number of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.config import Augment


@dataclass(frozen=True)
class Draws:
    """What was drawn for the views of some images; on the CPU.

    Attributes:
        top: int64 [B, 1], the crop's first row in the padded picture.
        left: int64 [B, 1], its first column.
        mirrored: bool [B, 1]; None where no picture is mirrored.
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor | None

    def of(self, images: Tensor | slice) -> "Draws":
        """Those of some of the images: positions int64 [n], or a slice."""
        mirrored = None if self.mirrored is None else self.mirrored[images]
        return Draws(self.top[images], self.left[images], mirrored)


def draw(augment: Augment, count: int, generator: torch.Generator) -> Draws:
    """Draw what the views of so many images are made of."""
    top, left = torch.randint(0, 2 * augment.crop_padding_px + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5 if augment.horizontal_flip else None
    return Draws(top, left, mirrored)


def views(pixels: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """Crops and mirror images of uint8 [B, H, W, C], one gather for the whole batch."""
    batch, height, width, _ = pixels.shape
    device, padding = pixels.device, augment.crop_padding_px
    columns = torch.arange(width, device=device).expand(batch, width)
    if draws.mirrored is not None:
        columns = torch.where(without_waiting(draws.mirrored, device), width - 1 - columns, columns)
    rows = torch.arange(height, device=device) + without_waiting(draws.top, device)
    columns = columns + without_waiting(draws.left, device)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    samples = torch.arange(batch, device=device)
    return padded[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; a copy to a GPU starts from pinned memory, so that the host goes on at once."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
