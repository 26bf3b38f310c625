"""The embedded data set keeps its promises: repeatable, balanced, no patient in both splits, an honest cache."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from distill.vision.datasets import echo_sheet
from distill.vision.datasets.echo_anatomy import Heart, draw_anatomy, heart_scene
from distill.vision.datasets.echo_phantom import (
    CLASS_NAMES,
    SIZE_PX,
    EchoPhantom,
    cache_folder,
    draw_machine,
    draw_patient,
    generate,
    patient_images,
    random_stream,
)
from distill.vision.datasets.echo_physics import NUM_BEAMS, NUM_SAMPLES, echo, ranges_mm, scan_convert
from distill.vision.datasets.echo_solids import FAR_MM, Points, ellipsoid, tube
from distill.vision.datasets.echo_views import VIEWS, View, rotate, varied_pose
from distill.vision.preprocess import Preprocess

SMALL = EchoPhantom(train_patients=3, validation_patients=1, images_per_patient=10, seed=5)
NATIVE = Preprocess(size_px=SIZE_PX, channels=1, mean=(0.2,), std=(0.2,))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return generate(SMALL, "train")


@pytest.fixture(scope="module")
def validation_images() -> np.ndarray:
    return generate(SMALL, "validation")


@pytest.fixture
def heart() -> Heart:
    return Heart(draw_anatomy(np.random.default_rng(3)), 0.2, av_opening=1.0, aortic_opening=0.0)


def test_same_seed_gives_identical_bytes(images: np.ndarray) -> None:
    assert generate(SMALL, "train").tobytes() == images.tobytes()


def test_other_seed_gives_other_images(images: np.ndarray) -> None:
    other = generate(SMALL.model_copy(update={"seed": 6}), "train")
    assert not any(np.array_equal(a, b) for a, b in zip(images, other, strict=True))


def test_order_and_number_of_workers_do_not_matter(images: np.ndarray) -> None:
    with ThreadPoolExecutor(3) as pool:
        backwards = list(pool.map(lambda number: patient_images(SMALL, "train", number), [2, 1, 0]))
    assert np.array_equal(np.concatenate(backwards[::-1])[..., None], images)


def test_size_of_the_data_set_does_not_change_its_images(images: np.ndarray) -> None:
    larger = SMALL.model_copy(update={"train_patients": 50, "images_per_patient": 13})
    assert np.array_equal(patient_images(larger, "train", 1)[:10, ..., None], images[10:20])


def test_no_image_occurs_twice(images: np.ndarray, validation_images: np.ndarray) -> None:
    both = [*images, *validation_images]
    assert len({image.tobytes() for image in both}) == len(both)


def test_patients_never_cross_the_splits() -> None:
    train, validation = SMALL.groups("train"), SMALL.groups("validation")
    assert not set(train) & set(validation)
    assert len(set(train)) == 3
    assert len(set(validation)) == 1


def test_each_patient_shows_every_view_equally_often() -> None:
    labels = SMALL.labels("train").reshape(3, 10)
    assert all(sorted(views) == list(range(10)) for views in labels.tolist())


def test_classes_are_balanced_for_any_number_of_images_per_patient() -> None:
    labels = EchoPhantom(train_patients=20, images_per_patient=7).labels("train")
    assert set(np.bincount(labels, minlength=10)) == {14}


def test_default_sizes_suit_the_demo() -> None:
    default = EchoPhantom()
    assert 3000 <= len(default.labels("train")) <= 4000
    assert len(default.labels("validation")) >= 1000


def test_split_has_the_promised_shapes(tmp_path: Path) -> None:
    split = SMALL.load("validation", NATIVE, cache=tmp_path)
    assert split.images.shape == (10, SIZE_PX, SIZE_PX, 1)
    assert split.images[np.array([0])].dtype == np.uint8
    assert split.labels.dtype == np.int64
    assert split.groups is not None
    assert split.groups.dtype == np.int64
    assert len(split.labels) == len(split.groups) == 10
    assert split.class_names == CLASS_NAMES
    assert len(set(CLASS_NAMES)) == 10


def test_images_are_resized_by_the_preprocess(tmp_path: Path) -> None:
    small = NATIVE.model_copy(update={"size_px": 32})
    native = SMALL.load("validation", NATIVE, cache=tmp_path).images[np.arange(10)]
    assert np.array_equal(
        SMALL.load("validation", small, cache=tmp_path).images[np.arange(10)], small.resize_batch(native)
    )


def test_pictures_use_the_grey_scale(images: np.ndarray) -> None:
    spread = images.reshape(len(images), -1).std(axis=1)
    assert spread.min() > 10
    assert images.max() == 255
    assert 15 < images.mean() < 90


def test_outside_of_the_sector_is_black(images: np.ndarray) -> None:
    corners = np.concatenate([images[:, :25, :15], images[:, :25, -15:], images[:, -1:, :]], axis=None)
    assert not corners.any()


def test_ventricle_holds_blood_and_its_wall_does_not(heart: Heart) -> None:
    at = [np.array(values, dtype=np.float32) for values in ([0.0, 27.0], [0.0, 0.0], [30.0, 30.0])]
    blood_mm = heart_scene(heart, Points(*at)).blood_mm
    assert blood_mm[0] < 0 < blood_mm[1]


def test_fully_developed_speckle_is_rayleigh() -> None:
    rng = random_stream(0, "train", 0)
    machine = draw_machine(rng, draw_patient(rng))
    even = np.ones((NUM_SAMPLES, NUM_BEAMS), dtype=np.float32)
    fields = [np.abs(echo(rng, even, 0 * even, machine, ranges_mm(150))) for _ in range(40)]
    envelope = np.stack(fields)[:, 5:-5, 12:-12]
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)
    assert np.sqrt((envelope**2).mean(axis=(0, 2))) == pytest.approx(1.0, abs=0.25), "even tissue is even in depth"


def test_speckle_is_widest_away_from_the_focus() -> None:
    rng = random_stream(0, "train", 1)
    machine = draw_machine(rng, draw_patient(rng))
    depths = ranges_mm(150)
    point = np.zeros((NUM_SAMPLES, NUM_BEAMS), dtype=np.float32)
    point[:, NUM_BEAMS // 2] = 1
    beams = np.abs(echo(rng, 0 * point, point, machine, depths))
    width = beams.sum(axis=1) / beams.max(axis=1)
    focus = int(np.argmin(np.abs(depths - machine.focus_mm)))
    assert width[focus] < width[20]
    assert width[focus] < width[-5]


def test_scan_conversion_keeps_left_and_right_and_depth() -> None:
    beams = np.zeros((NUM_SAMPLES, NUM_BEAMS), dtype=np.float32)
    beams[NUM_SAMPLES // 2 :, : NUM_BEAMS // 2] = 1
    screen = scan_convert(beams, 0.7, 150.0, size_px=100, apex_px=(0.0, 50.0))
    assert screen[80, 40] == 255
    assert screen[80, 60] == 0
    assert screen[30, 45] == 0


def test_solids_are_signed_distances() -> None:
    points = Points(*(np.array(values, dtype=np.float32) for values in ([0, 10, 12], [0, 0, 0], [0, 0, 0])))
    origin, end = np.zeros(3), np.array([0.0, 0.0, 5.0])
    assert ellipsoid(points, (0, 0, 0), (10, 10, 10))[1:] == pytest.approx([0, 2], abs=1e-3)
    assert tube(points, origin, end, 10.0) == pytest.approx([-10, 0, 2], abs=1e-3)
    assert FAR_MM > 500


@pytest.mark.parametrize("view", VIEWS, ids=CLASS_NAMES)
def test_probe_axes_stay_at_right_angles(view: View, heart: Heart) -> None:
    pose = varied_pose(np.random.default_rng(1), view.pose(heart), spread=2.0)
    assert [pose.ahead @ pose.ahead, pose.right @ pose.right] == pytest.approx([1, 1])
    assert pose.ahead @ pose.right == pytest.approx(0, abs=1e-12)
    assert pose.depth_mm > 80


def test_rotation_turns_counter_clockwise() -> None:
    x, y, z = np.eye(3)
    assert rotate(x, z, np.pi / 2) == pytest.approx(y)


def test_four_chamber_plane_holds_four_chambers_and_a_septum(heart: Heart) -> None:
    places = {"lv": (0, -4, 40), "rv": (-38, -4, 20), "la": (8, -6, -22), "ra": (-40, -8, -20), "septum": (-28, -4, 30)}
    at = Points(*(np.array(values, dtype=np.float32) for values in zip(*places.values(), strict=True)))
    blood = dict(zip(places, heart_scene(heart, at).blood_mm < 0, strict=True))
    assert blood == {"lv": True, "rv": True, "la": True, "ra": True, "septum": False}


def test_cache_hit_equals_fresh(tmp_path: Path, validation_images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    SMALL.load("validation", NATIVE, cache=tmp_path)
    monkeypatch.setattr("distill.vision.datasets.echo_phantom.generate", None)
    assert np.array_equal(SMALL.load("validation", NATIVE, cache=tmp_path).images[np.arange(10)], validation_images)


def test_splits_and_settings_do_not_share_a_cache_file(tmp_path: Path) -> None:
    least = EchoPhantom(train_patients=1, validation_patients=1, images_per_patient=1)
    least.load("train", NATIVE, cache=tmp_path)
    least.load("validation", NATIVE, cache=tmp_path)
    least.model_copy(update={"seed": 9}).load("validation", NATIVE, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "not json"])
def test_damaged_cache_is_made_again(
    damage: str, tmp_path: Path, validation_images: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    SMALL.load("validation", NATIVE, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:]
    path.write_bytes({"cut": whole[:-7], "flipped": flipped, "empty": b"", "not json": b"PK\x03\x04"}[damage])
    with caplog.at_level(logging.WARNING):
        split = SMALL.load("validation", NATIVE, cache=tmp_path)
    assert np.array_equal(split.images[np.arange(10)], validation_images)
    assert "not used" in caplog.text
    assert path.read_bytes() == whole


def test_unwritable_cache_does_not_stop_the_work(
    tmp_path: Path, validation_images: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        split = SMALL.load("validation", NATIVE, cache=obstacle / "cache")
    assert np.array_equal(split.images[np.arange(10)], validation_images)
    assert "not kept for the next run" in caplog.text


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pocket-distill"
    SMALL.load("validation", NATIVE)
    assert len(list(cache_folder().iterdir())) == 1


def test_unknown_keys_and_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValidationError):
        EchoPhantom.model_validate({"kind": "echo-phantom", "patients": 3})
    with pytest.raises(ValidationError):
        EchoPhantom(train_patients=0)


def test_contact_sheet_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sheet.png"
    assert echo_sheet.main([str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    with Image.open(path) as sheet:
        assert sheet.mode == "L"
        assert sheet.height > 10 * SIZE_PX
    assert path.stat().st_size < 600_000


def test_contact_sheet_needs_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert echo_sheet.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_importing_the_data_set_does_not_import_torch() -> None:
    code = "import sys, distill.vision.datasets.echo_phantom; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}).returncode == 0
