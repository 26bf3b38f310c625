"""Training batches: the order of an epoch, random views, and where the pixels live.

A split that fits is kept decoded, as uint8, on the training device; order and augmentation are computed there. A larger
one is decoded by worker processes. Both give the same batches for the same seed, and neither grows with the number of
epochs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill.config import Augment
from distill.vision.datasets import Split


@dataclass(frozen=True)
class Batch:
    """One step's worth of data on the training device.

    Attributes:
        images: float32 [B, C, H, W] in [0, 1], channels last in memory.
        labels: int64 [B].
        indices: int64 [B], positions in the split.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class Batches:
    """Batches of one split on one device.

    The last, incomplete batch of an epoch is dropped (batch normalisation dislikes tiny batches, and a constant shape
    is what compilers like); a split smaller than one batch is one batch.
    """

    def __init__(
        self, split: Split, *, batch_size: int, device: torch.device, augment: Augment | None = None, seed: int = 0
    ) -> None:
        self.split = split
        self.batch_size = min(batch_size, len(split))
        self.augment = augment or Augment()
        self.seed = seed
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        # NHWC on the device: a permuted view of it is channels_last without a copy.
        self.images = torch.from_numpy(split.images).to(device) if isinstance(split.images, np.ndarray) else None

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.split) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; order and views depend on (seed, number) only."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(self.split), generator=generator)[: len(self) * self.batch_size]
        for indices, pixels in self._pixels(order.split(self.batch_size)):
            views = random_views(pixels, self.augment, generator)
            yield Batch(to_unit_range(views), self.labels[indices], indices)

    def in_order(self) -> Iterator[Batch]:
        """Every image once, in the split's order, without augmentation; the last batch may be smaller."""
        for indices, pixels in self._pixels(torch.arange(len(self.split)).split(self.batch_size)):
            yield Batch(to_unit_range(pixels), self.labels[indices], indices)

    def _pixels(self, chunks: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        if self.images is not None:
            for chunk in chunks:
                indices = chunk.to(self.device, non_blocking=True)
                yield indices, self.images[indices]
            return
        loader = DataLoader(
            _Chunks(self.split, chunks),
            batch_size=None,
            num_workers=min(8, torch.get_num_threads()),
            pin_memory=self.device.type == "cuda",
        )
        for indices, pixels in loader:
            yield indices.to(self.device, non_blocking=True), pixels.to(self.device, non_blocking=True)


class _Chunks(Dataset[tuple[Tensor, Tensor]]):
    """Decodes one batch per item, so that workers hand over whole batches."""

    def __init__(self, split: Split, chunks: tuple[Tensor, ...]) -> None:
        self.split = split
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        chunk = self.chunks[index]
        return chunk, torch.from_numpy(self.split.images[chunk.numpy()])


def to_unit_range(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, C, H, W] in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def random_views(pixels: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Random crops and mirror images of uint8 [B, H, W, C], one gather for the whole batch.

    The random numbers are drawn on the CPU, so a run sees the same views on every device.
    """
    if not augment.active:
        return pixels
    batch, height, width, _ = pixels.shape
    padding = augment.crop_padding_px
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator)
    rows = (torch.arange(height) + top).to(pixels.device, non_blocking=True)
    columns = torch.arange(width).expand(batch, width)
    if augment.horizontal_flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    columns = (columns + left).to(pixels.device, non_blocking=True)
    padded = torch.nn.functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    samples = torch.arange(batch, device=pixels.device)
    return padded[samples[:, None, None], rows[:, :, None], columns[:, None, :]]
