"""Calibration images, hold-out and validation images have nothing in common."""

import numpy as np
import pytest

from distill.errors import UsageError
from distill.vision.datasets import Split
from export.doctor.jitter import jitter
from export.doctor.split import split_training, train_indices
from export.quantize.calibration import from_training

CLASSES = ("a", "b", "c")


def numbered(count: int, *, per_group: int | None = 1) -> Split:
    """Image i has the value i everywhere, and is of group i // per_group."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), (count, 8, 8, 1)).copy()
    groups = None if per_group is None else np.arange(count) // per_group
    return Split(images, np.arange(count) % 3, CLASSES, groups)


def split(train: Split, *, calibration: int, hold_out: int, seed: int = 0):
    return split_training(train, num_calibration=calibration, num_hold_out=hold_out, seed=seed, sha256="of-train")


def test_the_hold_out_has_no_image_and_no_class_imbalance_in_common_with_the_calibration_images() -> None:
    parts = split(numbered(240), calibration=60, hold_out=90)
    calibrated = set(parts.calibration.images[:, 0, 0, 0].tolist())
    assert parts.hold_out.groups is not None
    held_out = set(parts.hold_out.groups.tolist())  # every image is a group of its own here
    assert len(calibrated) == 60
    assert len(held_out) == 90
    assert not calibrated & held_out
    assert np.bincount(parts.hold_out.labels).tolist() == [30, 30, 30]
    assert parts.identity.apart_by_group
    assert parts.identity.num_images == 90
    assert parts.identity.data_sha256 == "of-train"


def test_no_patient_is_in_both_parts() -> None:
    train = numbered(240, per_group=4)
    parts = split(train, calibration=24, hold_out=90)
    assert train.groups is not None
    assert parts.hold_out.groups is not None
    assert not set(train.groups[train_indices(train, 24, seed=0)]) & set(parts.hold_out.groups)
    assert parts.identity.apart_by_group


def test_too_few_other_patients_are_admitted() -> None:
    parts = split(numbered(240, per_group=120), calibration=24, hold_out=90)
    assert not parts.identity.apart_by_group
    assert parts.identity.num_images == 90


@pytest.mark.parametrize("per_group", [None, 1, 4])
def test_the_export_calibrates_on_the_same_images(per_group: int | None) -> None:
    train = numbered(200, per_group=per_group)
    exported = from_training(train, 40, seed=7, sha256="of-train")
    parts = split(train, calibration=40, hold_out=50, seed=7)
    assert np.array_equal(parts.calibration.images, exported.images)
    assert np.array_equal(exported.images[:, 0, 0, 0], train_indices(train, 40, seed=7))


def test_the_seed_decides_the_hold_out_and_its_identity() -> None:
    first, again, other = (split(numbered(240), calibration=60, hold_out=90, seed=seed) for seed in (0, 0, 1))
    assert first.identity == again.identity
    assert first.identity.images_sha256 != other.identity.images_sha256


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UsageError, match=r"leave 10 besides the 200 to calibrate with.*--calibration-images 105"):
        split(numbered(210), calibration=200, hold_out=50)


def test_jitter_moves_and_brightens_within_its_bounds() -> None:
    image = np.full((1, 64, 64, 3), 100, dtype=np.uint8)
    image[0, 32, 32] = 200
    split = Split(np.repeat(image, 200, axis=0), np.zeros(200, dtype=np.int64), ("a",))
    moved = np.asarray(jitter(split, seed=0).images)
    assert moved.shape == (200, 64, 64, 3)
    assert moved.dtype == np.uint8
    assert 90 <= moved[:, 0, 0].min() < 95
    assert 105 < moved[:, 0, 0].max() <= 110
    rows, columns = np.divmod(moved[..., 0].reshape(200, -1).argmax(1), 64)
    assert set(rows) == set(columns) == {30, 31, 32, 33, 34}
    assert np.array_equal(moved, np.asarray(jitter(split, seed=0).images))


def test_what_is_true_of_every_pixel_moves_with_the_picture() -> None:
    """A mark in the picture stays under its mark in the mask; what comes in from beyond the edge is not known."""
    image, mask = np.full((1, 64, 64, 1), 100, dtype=np.uint8), np.zeros((1, 64, 64), dtype=np.uint8)
    image[0, 20, 40], mask[0, 20, 40] = 200, 1
    count = 100
    split = Split(
        np.repeat(image, count, axis=0),
        np.zeros(count, dtype=np.int64),
        ("background", "mark"),
        task="segmentation",
        truth=np.repeat(mask, count, axis=0),
    )
    moved = jitter(split, seed=0)
    pixels, truth = np.asarray(moved.images)[..., 0].reshape(count, -1), np.asarray(moved.truth)
    assert np.array_equal(pixels.argmax(1), (truth == 1).reshape(count, -1).argmax(1))
    assert len(set(pixels.argmax(1).tolist())) > 10
    unknown = (truth == 255).any(axis=(1, 2))
    stayed = pixels.argmax(1) == 20 * 64 + 40
    assert np.array_equal(unknown, ~stayed)
