"""Training batches: the order of an epoch, random views, and where the pixels live.

A split that fits is kept decoded, as uint8, on the training device; order and augmentation are computed there. A larger
one is decoded by threads, a few batches ahead: decoders run beside Python, and threads need no shared memory to hand
pixels over. Both give the same batches for the same seed, and neither grows with the number of epochs.
"""

import copy
import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.config import Augment
from distill.errors import UsageError, WorkFailed
from distill.training.augment import Draws, draw, mixtures, neighbours, truths, views, without_waiting
from distill.vision.datasets import Split
from distill.vision.pictures import Unreadable
from distill.vision.tasks import UNKNOWN

BATCHES_AHEAD = 3
MOST_DECODERS = 8


@dataclass(frozen=True)
class Batch:
    """One step's worth of data on the training device.

    Attributes:
        images: float32 [B, C, H, W] in [0, 1], channels last in memory.
        labels: int64 [B]; or what is true of every pixel: classes int64 [B, H, W], or metres float32 [B, H, W].
        indices: int64 [B], positions in the split.
        targets: float32 [B, classes], what label losses aim at; None where that is the labels. Of mixed images label
            and position are those of the larger part.
        view: which of the kept views the images are; 0 where none are kept.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    targets: Tensor | None = None
    view: int = 0


@dataclass(frozen=True)
class Share:
    """One process's part of every batch: part `number` (from 0) of `count` equal ones."""

    number: int = 0
    count: int = 1

    def of(self, batch: Tensor) -> Tensor:
        """The part of a tensor [B, ...] that is this process's: [B / count, ...]."""
        return batch[self.within(len(batch))]

    def within(self, batch_size: int) -> slice:
        """Where this process's part of a batch is."""
        size = batch_size // self.count
        return slice(self.number * size, (self.number + 1) * size)

    def check(self, batch_size: int, augment: Augment) -> None:
        """Raises UsageError if a batch cannot be divided evenly (the parts' mean would not be the batch's).

        Nor may a part leave an image alone where images are mixed in pairs.
        """
        if batch_size % self.count:
            whole = max(round(batch_size / self.count), 1) * self.count
            raise UsageError(
                f"a batch of {batch_size} images cannot be divided evenly among {self.count} processes. "
                f"Set training.batch_size to a multiple of {self.count}, e.g. {whole}, or start another number of them."
            )
        if augment.mixes and (batch_size // self.count) % 2:
            raise UsageError(
                f"training.augment mixes images in pairs, but a batch of {batch_size} images in {self.count} "
                f"process(es) leaves one alone. Set training.batch_size to a multiple of {2 * self.count}."
            )


WHOLE = Share()
"""Of a run in one process."""

KEPT_VIEWS = 2**40
"""Added to the seeds of kept views, which are then none of an epoch's."""

MOST_TURNS = 10_000
"""How often the images held back may come round within one epoch of the run, before two epochs see the same."""


class Batches:
    """Batches of one split on one device.

    The last, incomplete batch of an epoch is dropped (batch normalisation dislikes tiny batches, and a constant shape
    is what compilers like); a split smaller than one batch is one batch.

    Attributes:
        positions: int64 [N], the images of the split that are taken; all, but for a `part`.
        batch_size: of the whole batch, of which `epoch` yields the part that is `share`.
        label_smoothing: share of the targets that is spread over all classes.
        balanced_weights: targets are weighed so that each class has the same weight in all.
        balanced_sampling: images are drawn with replacement, each class equally often, and not each once.

    Raises:
        UsageError: a batch cannot be shared evenly, or not be divided into pairs where images are mixed.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        device: torch.device,
        augment: Augment | None = None,
        label_smoothing: float = 0.0,
        balanced_weights: bool = False,
        balanced_sampling: bool = False,
        seed: int = 0,
        share: Share = WHOLE,
    ) -> None:
        self.split = split
        self.positions = torch.arange(len(split))
        self.batch_size = min(batch_size, len(split))
        self.share = share
        self.augment = augment or Augment()
        self.label_smoothing = label_smoothing
        self.balanced_weights = balanced_weights
        self.balanced_sampling = balanced_sampling
        self._settle()
        self.seed = seed
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        # NHWC on the device: a permuted view of it is channels_last without a copy.
        self.images = torch.from_numpy(split.images).to(device) if isinstance(split.images, np.ndarray) else None
        self.truth = torch.from_numpy(split.truth).to(device) if isinstance(split.truth, np.ndarray) else None
        self.unknown = UNKNOWN[split.task]

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.positions) // self.batch_size

    def part(self, positions: Tensor) -> "Batches":
        """Batches of these images only (int64 [n], positions in the split), as large if there are so many.

        The pixels are shared. Raises UsageError if a batch cannot be shared evenly among the processes.
        """
        part = copy.copy(self)
        part.positions = positions
        part.batch_size = min(self.batch_size, len(positions))
        part._settle()
        return part

    def _settle(self) -> None:
        """What follows from positions and batch size."""
        self.share.check(self.batch_size, self.augment)
        self.class_weights = class_weights(self.split, self.positions)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; order and views depend on (seed, number) only."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = self.positions[self._order(generator)[: len(self) * self.batch_size]]
        chunks = tuple(self.share.of(chunk) for chunk in order.split(self.batch_size))
        view = number % (self.augment.kept_views or 1) if self.augment.repeats else 0
        kept = self._kept(view)
        for chunk, (indices, pixels, truth) in zip(chunks, self._pixels(chunks), strict=True):
            drawn = self._draw(len(chunk), generator) if kept is None else kept.of(chunk)
            shown = pixels if drawn is None else views(pixels, self.augment, drawn)
            labels = self._labels(indices, truth, drawn)
            yield self._batch(to_unit_range(shown), labels, indices, drawn, view)

    def _labels(self, indices: Tensor, truth: Tensor | None, drawn: Draws | None) -> Tensor:
        """What is true of the images as they are shown."""
        if truth is None:
            return self.labels[indices]
        if drawn is not None:
            truth = truths(truth, self.augment, drawn, unknown=self.unknown)
        return truth if truth.is_floating_point() else truth.to(torch.int64)

    def _draw(self, count: int, generator: torch.Generator) -> Draws | None:
        """What the views of this process's `count` images of a batch are made of; None if they are plain."""
        if not self.augment.active:
            return None
        whole = count * self.share.count
        return draw(self.augment, whole, generator).of(self.share.within(whole))

    def _order(self, generator: torch.Generator) -> Tensor:
        """The order of an epoch, as places in `positions`."""
        if not self.balanced_sampling:
            return torch.randperm(len(self.positions), generator=generator)
        weights = self.class_weights[torch.from_numpy(self.split.labels)[self.positions]]
        return torch.multinomial(weights, len(self.positions), replacement=True, generator=generator)

    def _batch(self, images: Tensor, labels: Tensor, indices: Tensor, drawn: Draws | None, view: int) -> Batch:
        """A batch of these images, mixed if they are to be, with what label losses aim at."""
        classes = len(self.split.class_names)
        if not (self.augment.mixes or self.label_smoothing or self.balanced_weights):
            return Batch(images, labels, indices, view=view)
        targets = one_hot(labels, classes)
        if self.augment.mixes and drawn is not None:
            own = without_waiting(drawn["own"], self.device)
            targets = torch.lerp(neighbours(targets), targets, own[:, None])
            labels, indices = (torch.where(own >= 0.5, value, neighbours(value)) for value in (labels, indices))
            images = mixtures(images, drawn)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / classes
        if self.balanced_weights:
            targets = targets * without_waiting(self.class_weights, self.device)
        return Batch(images, labels, indices, targets, view)

    def in_order(self, view: int | None = None) -> Iterator[Batch]:
        """Every image once, in the split's order; the last batch may be smaller.

        Args:
            view: which of the kept views to show; None = without augmentation.
        """
        kept = None if view is None else self._kept(view)
        chunks = self.positions.split(self.batch_size)
        for chunk, (indices, pixels, truth) in zip(chunks, self._pixels(chunks), strict=True):
            drawn = None if kept is None else kept.of(chunk)
            images = pixels if drawn is None else views(pixels, self.augment, drawn)
            yield Batch(to_unit_range(images), self._labels(indices, truth, drawn), indices, view=view or 0)

    def _kept(self, view: int) -> Draws | None:
        """What a kept view of every image of the split is made of; None if there are no such views."""
        if not self.augment.repeats:
            return None
        generator = torch.Generator().manual_seed(KEPT_VIEWS + self.seed * 1_000_003 + view)
        return draw(self.augment, len(self.split), generator)

    def _pixels(self, chunks: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Positions of each chunk, its images uint8 [B, H, W, C], and what is true of their pixels [B, H, W]."""
        if self.images is not None and (self.truth is not None or self.split.truth is None):
            for chunk in chunks:
                indices = without_waiting(chunk, self.device)
                yield indices, self.images[indices], None if self.truth is None else self.truth[indices]
            return
        for chunk, pixels, truth in self._decoded(chunks):
            known = None if truth is None else without_waiting(truth, self.device)
            yield without_waiting(chunk, self.device), without_waiting(pixels, self.device), known

    def _decoded(self, chunks: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """The chunks with their pixels, uint8 [B, H, W, C], and what is true of these, on the CPU."""
        images, truth = self.split.images, self.split.truth

        def read(part: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
            return images[part], None if truth is None else truth[part]

        threads = min(MOST_DECODERS, torch.get_num_threads())
        with ThreadPoolExecutor(threads) as pool:

            def start(chunk: Tensor) -> list[Future[tuple[NDArray[np.uint8], NDArray[Any] | None]]]:
                parts = np.array_split(chunk.numpy(), min(threads, len(chunk)))
                return [pool.submit(read, part) for part in parts]

            waiting = iter(chunks)
            ahead = deque((chunk, start(chunk)) for chunk in islice(waiting, BATCHES_AHEAD))
            try:
                while ahead:
                    chunk, parts = ahead.popleft()
                    pixels = np.concatenate([part.result()[0] for part in parts])
                    known = [found for part in parts if (found := part.result()[1]) is not None]
                    ahead.extend((following, start(following)) for following in islice(waiting, 1))
                    yield chunk, torch.from_numpy(pixels), torch.from_numpy(np.concatenate(known)) if known else None
            except Unreadable as error:
                raise WorkFailed(
                    f"{error.file} could be decoded when the run began and cannot any more ({error.reason}). "
                    "Put it back, then go on with --resume."
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


class EndlessBatches(Iterator[Batch]):
    """Batches without an end, begun anew in every epoch of the run, so that a resumed one sees the same."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.start_epoch(0)

    def start_epoch(self, number: int) -> None:
        """Begin the stream of the run's epoch `number` (0-based); it depends on nothing else but the seed."""
        turns = itertools.count(number * MOST_TURNS)
        self.stream = itertools.chain.from_iterable(self.batches.epoch(turn) for turn in turns)

    def __next__(self) -> Batch:
        return next(self.stream)


def class_weights(split: Split, positions: Tensor) -> Tensor:
    """Images of all classes / (classes x images of its own), of each class: float32 [classes]; 0 for one without any.

    Args:
        split: of which images and classes are.
        positions: int64 [n], the images that count.
    """
    counts = torch.bincount(torch.from_numpy(split.labels)[positions], minlength=len(split.class_names))
    present = counts > 0
    return torch.where(present, len(positions) / (present.sum() * counts.clamp(min=1)), 0.0)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels int64 [B] as float32 [B, classes]; `F.one_hot` makes a GPU wait to see that no label is too large."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(torch.float32)


def to_unit_range(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, C, H, W] in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)
