import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.config import Augment
from distill.errors import UsageError
from distill.methods import Samples
from distill.training.batches import Batches, Share, to_unit_range
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


def counted(*counts: int, size: int = 4) -> Split:
    """So many images of each class; image i is filled with the value i."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Split(numbered(sum(counts), size).images, labels, tuple(str(number) for number in range(len(counts))))


def test_smoothed_targets_are_what_cross_entropy_makes_of_smoothed_labels() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    for batch in Batches(counted(2, 2, 2), batch_size=6, device=CPU, label_smoothing=0.2).epoch(0):
        samples = Samples(batch.labels, batch.indices, batch.targets)
        expected = torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=0.2)
        torch.testing.assert_close(samples.label_loss(logits), expected)


def test_balanced_weights_are_those_of_cross_entropy_and_give_every_class_the_same_weight() -> None:
    batches = Batches(counted(6, 3, 0, 1), batch_size=10, device=CPU, balanced_weights=True)
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([10 / 18, 10 / 9, 0.0, 10 / 3])
    for batch in batches.epoch(0):
        assert batch.targets is not None
        assert batch.targets.sum(0).tolist() == pytest.approx([10 / 3, 10 / 3, 0, 10 / 3])
        losses = Samples(batch.labels, batch.indices, batch.targets).label_losses(logits)
        expected = torch.nn.functional.cross_entropy(logits, batch.labels, weight=weights, reduction="none")
        torch.testing.assert_close(losses, expected)
    part = batches.part(torch.tensor([0, 1, 9]))
    assert part.class_weights.tolist() == pytest.approx([0.75, 0, 0, 1.5])


def test_a_balanced_epoch_shows_every_class_equally_often() -> None:
    batches = Batches(counted(900, 90, 10), batch_size=100, device=CPU, balanced_sampling=True)
    labels = torch.cat([batch.labels for epoch in range(3) for batch in batches.epoch(epoch)])
    shares = torch.bincount(labels) / len(labels)
    assert len(labels) == 3000
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_blended_neighbours_aim_at_both_labels_by_their_shares() -> None:
    split = numbered(8, size=6)
    seen = set()
    for batch in Batches(split, batch_size=8, device=CPU, augment=Augment(mixup=0.5)).epoch(1):
        assert batch.targets is not None
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(8))
        # Image i is filled with i, so a mixture shows the mean label.
        mean_label = batch.targets @ torch.arange(8.0)
        expected = (mean_label / 255)[:, None, None].expand(8, 6, 6)
        torch.testing.assert_close(batch.images[:, 0], expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(batch.labels, batch.targets.argmax(1))
        assert torch.equal(batch.labels, batch.indices)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for pair in batch.targets.reshape(4, 2, 8):
            assert torch.equal(pair[0] > 0, pair[1] > 0)
        seen |= set(batch.targets.amax(1).tolist())
    assert len(seen) == 4


def test_a_part_put_into_a_neighbour_counts_by_its_area() -> None:
    split = numbered(64, size=64)
    for batch in Batches(split, batch_size=64, device=CPU, augment=Augment(cutmix=1.0)).epoch(0):
        assert batch.targets is not None
        pixels = (batch.images[:, 0] * 255).round().long()
        for picture, target in zip(pixels, batch.targets, strict=True):
            shown = torch.bincount(picture.flatten(), minlength=64) / 64**2
            assert (shown - target).abs().max() < 0.04
        is_mixed = (batch.targets > 0).sum(1) == 2
        assert is_mixed.float().mean() > 0.9


def test_with_both_some_pairs_are_blended_and_some_cut() -> None:
    (batch,) = Batches(numbered(64), batch_size=64, device=CPU, augment=Augment(mixup=1.0, cutmix=1.0)).epoch(0)
    shades = [len(picture.unique()) for picture in batch.images]
    assert 10 < sum(shade == 1 for shade in shades) < 60


def test_shares_of_a_mixed_batch_are_together_the_batch_of_one() -> None:
    augment = Augment(mixup=1.0, cutmix=1.0, crop_padding_px=1)

    def epoch(share: Share) -> Batches:
        return Batches(numbered(24), batch_size=12, device=CPU, augment=augment, share=share, label_smoothing=0.1)

    parts = zip(*(epoch(Share(number, 3)).epoch(1) for number in range(3)), strict=True)
    for whole, of_batch in zip(epoch(Share()).epoch(1), parts, strict=True):
        for name in ("images", "labels", "indices", "targets"):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in of_batch]))


def test_an_image_that_would_stay_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="mixes images in pairs, but a batch of 6 images in 2 process"):
        Batches(numbered(12), batch_size=6, device=CPU, augment=Augment(mixup=1.0), share=Share(0, 2))
