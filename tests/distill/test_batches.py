import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.batches import Batches, Share, to_unit_range
from distill.config import Augment
from distill.errors import UsageError
from distill.vision.datasets import Split

CPU = torch.device("cpu")


class OnDemand:
    """Images that are decoded when asked for, as `ImageFiles` are."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.shape = images.shape

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images[indices]


def numbered(count: int = 10, size: int = 4) -> Split:
    """Image i is filled with the value i."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, size, size, 1)).copy()
    return Split(images, np.arange(count, dtype=np.int64), tuple(str(i) for i in range(count)))


def values(batches: Batches, epoch: int) -> list[list[int]]:
    return [(batch.images[:, 0, 0, 0] * 255).round().int().tolist() for batch in batches.epoch(epoch)]


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch_only() -> None:
    def fresh(seed: int) -> Batches:
        return Batches(numbered(), batch_size=5, device=CPU, seed=seed)

    assert sorted(value for chunk in values(fresh(0), 0) for value in chunk) == list(range(10))
    assert values(fresh(0), 3) == values(fresh(0), 3)
    assert values(fresh(0), 3) != values(fresh(0), 4)
    assert values(fresh(0), 3) != values(fresh(1), 3)


def test_images_labels_and_indices_belong_together() -> None:
    for batch in Batches(numbered(), batch_size=3, device=CPU).epoch(0):
        assert batch.labels.tolist() == batch.indices.tolist()
        assert (batch.images[:, 0, 0, 0] * 255).round().int().tolist() == batch.labels.tolist()


def test_the_incomplete_batch_is_dropped_in_training_and_kept_in_order() -> None:
    batches = Batches(numbered(10), batch_size=4, device=CPU)
    assert [len(chunk) for chunk in values(batches, 0)] == [4, 4]
    assert [len(batch.labels) for batch in batches.in_order()] == [4, 4, 2]
    assert len(Batches(numbered(3), batch_size=64, device=CPU)) == 1


def test_streamed_images_come_in_the_same_batches_as_those_in_memory() -> None:
    split = numbered()
    streamed = Split(OnDemand(split.images[np.arange(10)]), split.labels, split.class_names)
    augment = Augment(crop_padding_px=1, horizontal_flip=True)
    pairs = zip(
        Batches(split, batch_size=4, device=CPU, augment=augment).epoch(2),
        Batches(streamed, batch_size=4, device=CPU, augment=augment).epoch(2),
        strict=True,
    )
    for left, right in pairs:
        assert torch.equal(left.images, right.images)
        assert torch.equal(left.labels, right.labels)


def test_the_unit_range_is_exact_at_its_ends_and_channels_last_in_memory() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3).expand(2, 4, 5, 3)
    images = to_unit_range(pixels.contiguous())
    assert images.shape == (2, 3, 4, 5)
    assert images[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_kept_views_come_round_and_are_the_same_whatever_the_epoch_and_the_batch() -> None:
    split = Split(
        np.random.default_rng(0).integers(0, 256, (10, 6, 6, 1), dtype=np.uint8), np.arange(10), tuple("0123456789")
    )

    def by_image(batches: Batches, epoch: int) -> dict[int, torch.Tensor]:
        pairs = (zip(batch.indices, batch.images, strict=True) for batch in batches.epoch(epoch))
        return {int(index): image for pair in pairs for index, image in pair}

    augment = Augment(crop_padding_px=2, horizontal_flip=True, kept_views=3)
    pairs = Batches(split, batch_size=2, device=CPU, augment=augment, seed=4)
    fives = Batches(split, batch_size=5, device=CPU, augment=augment, seed=4)
    first, second, fourth = by_image(pairs, 0), by_image(pairs, 1), by_image(fives, 3)
    assert all(torch.equal(first[image], fourth[image]) for image in range(10))
    assert sum(torch.equal(first[image], second[image]) for image in range(10)) < 3
    assert [batch.view for batch in pairs.epoch(4)] == [1] * 5
    for view in range(3):
        shown = torch.cat([batch.images for batch in pairs.in_order(view)])
        assert torch.equal(shown, torch.stack([by_image(pairs, view)[image] for image in range(10)]))
    other_seed = by_image(Batches(split, batch_size=2, device=CPU, augment=augment, seed=5), 0)
    assert not all(torch.equal(first[image], other_seed[image]) for image in range(10))
    plain = torch.cat([batch.images for batch in pairs.in_order()])
    assert torch.equal(plain, to_unit_range(torch.from_numpy(split.images)))


@pytest.mark.parametrize("kept_views", [None, 2])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_shares_of_several_processes_are_together_the_batch_of_one(streamed: bool, kept_views: int | None) -> None:
    split = numbered(20)
    if streamed:
        split = Split(OnDemand(split.images[np.arange(20)]), split.labels, split.class_names)
    augment = Augment(crop_padding_px=1, horizontal_flip=True, kept_views=kept_views)

    def epoch(share: Share) -> Batches:
        return Batches(split, batch_size=6, device=CPU, augment=augment, share=share)

    parts = zip(*(epoch(Share(number, 3)).epoch(1) for number in range(3)), strict=True)
    for whole, of_batch in zip(epoch(Share()).epoch(1), parts, strict=True):
        assert torch.equal(whole.images, torch.cat([part.images for part in of_batch]))
        assert torch.equal(whole.indices, torch.cat([part.indices for part in of_batch]))
        assert torch.equal(whole.labels, torch.cat([part.labels for part in of_batch]))


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 7 images cannot be divided evenly among 3 processes"):
        Batches(numbered(7), batch_size=64, device=CPU, share=Share(0, 3))
