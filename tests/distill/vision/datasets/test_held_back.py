"""A part of the training images in place of the validation images: a division, whose other side is never read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.errors import UsageError
from distill.vision.datasets.duplicates import of_split
from distill.vision.datasets.echo_phantom import EchoPhantom
from distill.vision.datasets.held_back import HeldBack
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.datasets.moved import moved
from distill.vision.preprocess import Preprocess

GREY = Preprocess(size_px=16, channels=1, mean=(0.5,), std=(0.5,))
COLOUR = Preprocess(size_px=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_the_two_sides_are_the_training_images_and_share_no_patient() -> None:
    phantom = EchoPhantom(train_patients=10, validation_patients=1, images_per_patient=10)
    whole = phantom.load("train", GREY)
    divided = HeldBack(of=phantom, share=0.3)
    train, held = divided.load("train", GREY), divided.load("validation", GREY)
    assert len(train) + len(held) == len(whole)
    assert len(held) == 30
    assert train.groups is not None
    assert held.groups is not None
    assert not {*train.groups.tolist()} & {*held.groups.tolist()}
    assert {*held.labels.tolist()} == {*train.labels.tolist()} == set(range(10))
    pixels = [split.images[np.arange(len(split))].reshape(len(split), -1) for split in (train, held, whole)]
    assert sorted(map(bytes, np.concatenate(pixels[:2]))) == sorted(map(bytes, pixels[2]))
    assert divided.channels == 1
    assert not divided.has_test


def test_the_division_hangs_on_its_seed_alone() -> None:
    phantom = EchoPhantom(train_patients=10, validation_patients=1, images_per_patient=10)
    sides = [HeldBack(of=phantom, seed=seed).load("validation", GREY).sha256() for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2]


def test_what_is_validation_elsewhere_is_not_read(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder()
    for file in (root / "validation").rglob("*.png"):
        file.write_bytes(b"no picture")
    folder = ImageFolder(path=str(root))
    with pytest.raises(UsageError, match="cannot be decoded"):
        folder.load("validation", COLOUR)
    held = HeldBack(of=folder, share=0.5).load("validation", COLOUR)
    assert len(held) == 6
    assert held.names is not None
    assert all(name.startswith("train") for name in held.names)


def test_pictures_that_are_too_many_for_memory_stay_in_their_files(
    picture_folder: Callable[..., Path],
) -> None:
    path = str(picture_folder())
    in_memory = HeldBack(of=ImageFolder(path=path)).load("train", COLOUR)
    divided = HeldBack(of=ImageFolder(path=path, memory_limit_mib=0))
    in_files = divided.load("train", COLOUR)
    assert in_memory.in_memory
    assert not in_files.in_memory
    assert in_files.images.shape == in_memory.images.shape
    everything = np.arange(len(in_files))
    assert np.array_equal(in_files.images[everything], in_memory.images[everything])
    assert np.array_equal(of_split(in_files).digests, of_split(in_memory).digests)
    assert in_files.sha256() != divided.load("validation", COLOUR).sha256()


def test_a_class_of_one_picture_is_refused(picture_folder: Callable[..., Path]) -> None:
    divided = HeldBack(of=ImageFolder(path=str(picture_folder(per_class=1))))
    with pytest.raises(UsageError, match=r"class 'bright' has 1 pictures, too few"):
        divided.load("train", COLOUR)


def test_it_moves_with_its_files(tmp_path: Path) -> None:
    assert moved(HeldBack(of=ImageFolder(path="then")), tmp_path) == HeldBack(of=ImageFolder(path=str(tmp_path)))
