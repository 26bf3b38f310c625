import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill import checkpoint as checkpoints
from distill.checkpoint import Checkpoint
from distill.errors import UsageError
from export.proof.evidence import Evidence, enough_images, further, gather
from export.quantize.calibration import PictureFolder
from tests.export.conftest import CLASSES, write_checkpoint, write_pictures


def test_calibration_takes_training_images_evenly_from_every_class(checkpoint: Checkpoint) -> None:
    calibration = gather(checkpoint, num_parity=4, num_calibration=20, seed=5).calibration
    assert calibration is not None
    train = checkpoint.card.training.data.config.load("train", checkpoint.card.preprocess)
    label_of = {image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)}
    assert Counter(label_of[image.tobytes()] for image in calibration.images) == dict.fromkeys(range(len(CLASSES)), 5)
    record = calibration.record("min-max")
    assert (record.num_images, record.seed, record.calibrator) == (20, 5, "min-max")
    assert (record.source, record.data_sha256) == ("training", checkpoint.card.training.data.train_sha256)


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
    assert replace(loaded.calibration, images=None) == replace(evidence.calibration, images=None)
    assert loaded.held_out.source == evidence.held_out.source == "held-out"
    assert loaded.held_out.seed == evidence.held_out.seed == 0


@pytest.mark.parametrize(("split", "num_calibration"), [("validation", 0), ("train", 4)])
def test_changed_data_are_refused_by_name(tmp_path: Path, split: str, num_calibration: int) -> None:
    write_pictures(tmp_path / "data")
    changed = checkpoints.load(write_checkpoint(tmp_path / "run", tmp_path / "data", channels=3, steps=0))
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / "red" / "0.png")
    with pytest.raises(UsageError, match=rf"the {split} images of .*data are not those .* trained with"):
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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures of different sizes and modes, some in a folder below."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = root / "below" if number % 3 == 0 else root
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if number % 2 else "RGB").save(folder / f"{number}.png")
    (root / "notes.txt").write_text("no picture")
    return root


def brought(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The same network, without its training data."""
    card = checkpoint.card
    checkpoints.save(
        folder,
        checkpoint.model,
        name=card.model,
        class_names=card.class_names,
        preprocess=card.preprocess,
        training=None,
    )
    return checkpoints.load(folder)


def test_a_folder_of_ones_own_takes_the_place_of_training_images(checkpoint: Checkpoint, photos: Path) -> None:
    pictures = PictureFolder.find(photos)
    evidence = gather(checkpoint, num_parity=60, num_calibration=10, seed=0, folder=pictures)
    assert evidence.calibration.images.shape == (10, 32, 32, 3)
    assert (evidence.calibration.source, evidence.calibration.data_sha256) == ("folder", pictures.sha256)
    assert evidence.held_out.source == "held-out"
    assert evidence.held_out.labels is not None


def test_without_data_the_folder_is_halved_into_calibration_and_judgement(
    tmp_path: Path, checkpoint: Checkpoint, photos: Path
) -> None:
    pictures = PictureFolder.find(photos)
    evidence = gather(brought(checkpoint, tmp_path / "b"), num_parity=60, num_calibration=200, seed=0, folder=pictures)
    judged = evidence.held_out
    assert (len(evidence.calibration.images), len(judged.images) - judged.num_made) == (6, 6)
    assert len(set(judged.without_made().eager_logits.argmax(1))) == 1, "noise gets one answer, so others are made"
    assert judged.num_made == 64
    assert (evidence.held_out.source, evidence.held_out.labels) == ("folder", None)
    chosen = {image.tobytes() for image in evidence.calibration.images}
    assert not chosen & {image.tobytes() for image in evidence.held_out.images}


def test_the_folders_identity_changes_with_names_and_contents(photos: Path) -> None:
    first = PictureFolder.find(photos).sha256
    assert PictureFolder.find(photos).sha256 == first
    (photos / "1.png").rename(photos / "renamed.png")
    renamed = PictureFolder.find(photos).sha256
    Image.new("RGB", (9, 9)).save(photos / "renamed.png")
    assert len({first, renamed, PictureFolder.find(photos).sha256}) == 3


def test_what_systems_leave_in_a_folder_of_pictures_is_not_calibrated_with(photos: Path) -> None:
    before = PictureFolder.find(photos)
    (photos / "__MACOSX").mkdir()
    for name in (".hidden.png", "__MACOSX/._1.png"):
        shutil.copy(photos / "1.png", photos / name)
    assert PictureFolder.find(photos) == before


def test_a_moved_data_set_is_read_where_it_lies_now_and_only_if_it_is_the_same(
    tmp_path: Path, checkpoint: Checkpoint, pictures: Path
) -> None:
    training = checkpoint.card.training
    assert training is not None
    gone = training.data.config.model_copy(update={"path": str(tmp_path / "gone")})
    data = training.data.model_copy(update={"config": gone})
    card = checkpoint.card.model_copy(update={"training": training.model_copy(update={"data": data})})
    with pytest.raises(UsageError, match="name the place: --data FOLDER"):
        gather(replace(checkpoint, card=card), num_parity=4, num_calibration=0, seed=0)
    moved = replace(checkpoint, card=card, data=pictures)
    found = gather(moved, num_parity=4, num_calibration=6, seed=0)
    there = gather(checkpoint, num_parity=4, num_calibration=0, seed=0)
    assert np.array_equal(found.held_out.images, there.held_out.images)
    assert further(moved, found.held_out) is not None
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    sorted((copy / "validation").rglob("*.png"))[0].unlink()
    with pytest.raises(UsageError, match="are not those this checkpoint was trained with"):
        gather(replace(moved, data=copy), num_parity=4, num_calibration=0, seed=0)


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, photos: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "empty", "holds no picture"), (tmp_path / "none", "there is no such folder")):
        with pytest.raises(UsageError, match=message):
            PictureFolder.find(folder)
    for file in photos.glob("*.png"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UsageError, match="cannot be decoded"):
        gather(checkpoint, num_parity=4, num_calibration=12, seed=0, folder=PictureFolder.find(photos))


def test_further_images_go_on_where_the_first_ended_until_there_are_no_more(checkpoint: Checkpoint) -> None:
    held_out = gather(checkpoint, num_parity=25, num_calibration=0, seed=3).held_out
    whole = gather(checkpoint, num_parity=60, num_calibration=0, seed=3).held_out
    sizes: list[int] = []
    while (more := further(checkpoint, held_out)) is not None:
        assert more is further(checkpoint, held_out), "made once in a process"
        sizes.append(len(more.images))
        held_out = held_out.followed_by(more)
    assert sizes == [25, 10]
    assert np.array_equal(held_out.images, whole.images)
    assert np.array_equal(held_out.labels, whole.labels)
    np.testing.assert_allclose(held_out.eager_logits, whole.eager_logits, atol=1e-5)


def test_there_is_nothing_further_than_images_of_another_kind(checkpoint: Checkpoint, evidence: Evidence) -> None:
    assert further(checkpoint, replace(evidence.held_out, seed=None)) is None
    bare = Checkpoint(checkpoint.card.model_copy(update={"training": None}), checkpoint.model, checkpoint.folder)
    assert gather(bare, num_parity=5, num_calibration=0, seed=0).held_out.seed is None
    assert further(bare, evidence.held_out) is None


@pytest.mark.parametrize(
    ("task", "classes", "size_px", "enough"),
    [
        ("classification", 10, 64, 20_000),
        ("segmentation", 7, 64, 2340),
        ("segmentation", 19, 512, 128),
        ("depth", 1, 64, 16384),
    ],
)
def test_the_smaller_the_answers_of_every_pixel_the_more_images_are_judged_on(
    checkpoint: Checkpoint, task: str, classes: int, size_px: int, enough: int
) -> None:
    names = tuple(str(number) for number in range(classes))
    sees = checkpoint.card.preprocess.model_copy(update={"size_px": size_px})
    card = checkpoint.card.model_copy(update={"task": task, "class_names": names, "preprocess": sees})
    assert enough_images(card, 20_000) == enough
    assert enough_images(card, 100) == 100
