from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill import checkpoint as checkpoints
from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from export.evidence import Evidence, gather

from .conftest import CLASSES, write_checkpoint, write_pictures


def test_calibration_takes_training_images_evenly_from_every_class(checkpoint: Checkpoint) -> None:
    calibration = gather(checkpoint, num_parity=4, num_calibration=20, seed=5).calibration
    assert calibration is not None
    train = checkpoint.card.training.data.config.load("train", checkpoint.card.preprocess)
    label_of = {image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)}
    assert Counter(label_of[image.tobytes()] for image in calibration.images) == dict.fromkeys(range(len(CLASSES)), 5)
    record = calibration.record("min-max")
    assert (record.num_images, record.seed, record.calibrator) == (20, 5, "min-max")
    assert record.data_sha256 == checkpoint.card.training.data.train_sha256


def test_the_seed_decides_which_images_are_taken(checkpoint: Checkpoint) -> None:
    first, again, other = (gather(checkpoint, num_parity=8, num_calibration=8, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.calibration.images, again.calibration.images)
    assert np.array_equal(first.held_out.images, again.held_out.images)
    assert not np.array_equal(first.calibration.images, other.calibration.images)
    assert not np.array_equal(first.held_out.images, other.held_out.images)


def test_held_out_images_are_never_training_images(checkpoint: Checkpoint) -> None:
    evidence = gather(checkpoint, num_parity=1000, num_calibration=1000, seed=0)
    held_out = {image.tobytes() for image in evidence.held_out.images}
    assert len(held_out) == 60
    assert not held_out & {image.tobytes() for image in evidence.calibration.images}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, evidence: Evidence) -> None:
    evidence.save(tmp_path / "evidence.npz")
    loaded = Evidence.load(tmp_path / "evidence.npz")
    assert np.array_equal(loaded.held_out.images, evidence.held_out.images)
    assert np.array_equal(loaded.held_out.labels, evidence.held_out.labels)
    assert np.array_equal(loaded.held_out.eager_logits, evidence.held_out.eager_logits)
    assert np.array_equal(loaded.calibration.images, evidence.calibration.images)
    assert (loaded.calibration.seed, loaded.calibration.data_sha256) == (0, evidence.calibration.data_sha256)


@pytest.mark.parametrize(("split", "num_calibration"), [("validation", 0), ("train", 4)])
def test_changed_data_are_refused_by_name(tmp_path: Path, split: str, num_calibration: int) -> None:
    write_pictures(tmp_path / "data")
    changed = checkpoints.load(write_checkpoint(tmp_path / "run", tmp_path / "data", channels=3, steps=0))
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / "red" / "0.png")
    with pytest.raises(UsageError, match=rf"the {split} images of image-folder are not those .* trained with"):
        gather(changed, num_parity=4, num_calibration=num_calibration, seed=0)


def test_missing_data_are_the_data_sets_own_error(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    orphan = checkpoints.load(write_checkpoint(tmp_path / "run", tmp_path / "data", channels=3, steps=0))
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="data"):
        gather(orphan, num_parity=4, num_calibration=0, seed=0)


def test_progress_reaches_its_end(checkpoint: Checkpoint) -> None:
    seen: list[tuple[int, int]] = []
    gather(checkpoint, num_parity=50, num_calibration=0, seed=0, on_progress=lambda *at: seen.append(at))
    assert seen == [(32, 50), (50, 50)]
