"""The masks of the echo phantom: they lie on what the picture shows, and the picture is what it always was."""

from pathlib import Path

import numpy as np
import pytest

from distill.vision.datasets import EchoPhantom, Split
from distill.vision.datasets.echo_anatomy import STRUCTURES
from distill.vision.datasets.echo_phantom import SIZE_PX, EchoPhantomMasks, shots
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import IGNORED

SMALL = {"train_patients": 3, "validation_patients": 1, "images_per_patient": 10, "seed": 5}
NATIVE = Preprocess(size_px=SIZE_PX, channels=1, mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return EchoPhantomMasks(**SMALL).load("train", NATIVE, cache=tmp_path_factory.mktemp("cache"))


def test_pictures_patients_and_cached_files_are_those_of_the_views(masks: Split, tmp_path: Path) -> None:
    views = EchoPhantom(**SMALL).load("train", NATIVE, cache=tmp_path)
    assert np.array_equal(np.asarray(masks.images), np.asarray(views.images))
    assert masks.groups is not None
    assert np.array_equal(masks.groups, views.groups)  # type: ignore[arg-type]
    EchoPhantomMasks(**SMALL).load("train", NATIVE, cache=tmp_path)
    assert len(list(tmp_path.glob("echo-phantom-*.array"))) == 2  # no second copy of the pictures


def test_every_structure_is_seen_and_blood_is_darker_than_its_wall(masks: Split) -> None:
    truth, images = np.asarray(masks.truth), np.asarray(masks.images)[..., 0]
    assert set(np.unique(truth)) == {*range(len(STRUCTURES)), IGNORED}
    cavity, wall = (images[truth == STRUCTURES.index(name)].mean() for name in ("LV cavity", "LV wall"))
    assert cavity < 0.6 * wall


def test_the_borders_of_mask_and_picture_are_in_the_same_place(masks: Split) -> None:
    """Moved by a few pixels, the mask fits the picture worse: the step from cavity to wall is lower."""
    truth, images = np.asarray(masks.truth), np.asarray(masks.images)[..., 0].astype(float)
    cavity, wall = (truth == STRUCTURES.index(name) for name in ("LV cavity", "LV wall"))

    def step(shift: tuple[int, int]) -> float:
        moved = np.roll(images, shift, axis=(1, 2))
        return float(moved[wall].mean() - moved[cavity].mean())

    assert all(step((0, 0)) > step(shift) + 2 for shift in ((5, 0), (-5, 0), (0, 5), (0, -5)))


def test_only_shadows_are_unknown_and_nothing_is_marked_outside_the_sector() -> None:
    for shot in shots(EchoPhantomMasks(**SMALL), "train", 1):
        mask = shot.mask()
        assert (IGNORED in mask) == (shot.window.beam_loss_db.max() > 20)
        assert not mask[0, 0]
        assert not mask[0, -1]


def test_the_smaller_mask_holds_no_class_that_the_larger_one_lacks(masks: Split) -> None:
    at_32 = NATIVE.model_copy(update={"size_px": 32}).resize_truths(np.asarray(masks.truth))
    for small, large in zip(at_32, np.asarray(masks.truth), strict=True):
        assert set(np.unique(small)) <= set(np.unique(large))
