import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cpu.device import CpuBench
from bench.cpu.workers import Workers
from bench.record import Measurement
from bench.session.answers.options import AccuracyOptions
from bench.session.cells import plan
from bench.timing.loop import HostLimits
from distill.errors import UsageError
from distill.vision.datasets.image_folder import ImageFolder
from export.artifact.manifest import MANIFEST_FILE, Manifest
from tests.bench.conftest import file_entry

SCRIPT = Path(__file__).parents[1] / "misbehaving_worker.py"
QUICK = HostLimits(
    warmup_count=2, warmup_s=0.0, min_count=25, min_s=0.0, max_count=25, steady_within=None, half_width=None
)
BENCH = CpuBench(
    limits=QUICK,
    launches=1,
    workers=Workers((sys.executable, str(SCRIPT)), ahead=2),
    memory_pass=False,
    accuracy_images=9,
)
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for split in ("train", "validation"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(192, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def session(tmp_path_factory, make_artifact_in, pictures: Path, weights: np.ndarray) -> dict[str, Measurement]:
    """A real ONNX model beside stand-ins, of which eager always answers with the class of its golden output."""
    root = tmp_path_factory.mktemp("session")
    shared = {"dataset": ImageFolder(path=str(pictures)), "checkpoint_sha256": "c" * 64, "weights": weights}
    folders = [
        make_artifact_in(root, "eager", format="eager", model_bytes=b"fine", **shared),
        make_artifact_in(root, "real", **shared),
        make_artifact_in(root, "crash", format="torchscript", model_bytes=b"crash", **shared),
        make_artifact_in(root, "alone", **{**shared, "checkpoint_sha256": "d" * 64}),
        make_artifact_in(root, "no-data", **{**shared, "dataset": None}),
        make_artifact_in(root, "gone", **{**shared, "dataset": ImageFolder(path="/no/such/folder")}),
        make_artifact_in(root, "other", **{**shared, "class_names": ("a", "b", "d")}),
    ]
    cells = plan(folders, batches=[1], threads=[1], refusal=BENCH.refusal).cells
    return {row.subject.name: row for _, row in BENCH.measure_all(cells, run_id="r", tell=lambda _: None)}


def expected(pictures: Path, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(predictions of the ONNX model, labels), by NumPy from the files."""
    found = [
        (np.asarray(Image.open(path), dtype=np.float32).transpose(2, 0, 1).reshape(-1) / 255 @ weights, label)
        for label, name in enumerate(CLASSES)
        for path in sorted((pictures / "validation" / name).iterdir())
    ]
    return np.array([logits.argmax() for logits, _ in found]), np.array([label for _, label in found])


def test_accuracy_and_agreement_are_those_of_the_very_artifact(session, pictures, weights):
    predicted, labels = expected(pictures, weights)
    golden = np.random.default_rng(7)
    golden.normal(size=(192, 3))
    always = int((golden.random((1, 3, 8, 8), dtype=np.float32).reshape(1, -1) @ weights).argmax())
    row = session["real"]
    assert row.measured_accuracy == pytest.approx(float(np.mean(predicted == labels)))
    assert row.measured_agreement == pytest.approx(float(np.mean(predicted == always)))
    assert (row.measured_images, row.measured_note) == (9, "")
    assert session["eager"].measured_accuracy == pytest.approx(1 / 3)
    assert session["eager"].measured_agreement == 1.0


@pytest.mark.parametrize(
    ("name", "accuracy", "note"),
    [
        ("alone", True, "no agreement: the eager artifact of this checkpoint is not in this session"),
        ("no-data", False, "the artifact names no data set"),
        ("gone", False, "its data cannot be loaded: "),
        ("other", False, "its data set has the classes a, b, c, the artifact others"),
    ],
)
def test_what_could_not_be_found_is_none_and_says_why(session, name: str, accuracy: bool, note: str):
    row = session[name]
    assert row.validity != "failed"
    assert (row.measured_accuracy is not None, row.measured_agreement) == (accuracy, None)
    assert row.measured_note.startswith(note)


def test_an_artifact_that_crashes_on_the_images_is_told_in_its_own_row(session):
    assert (session["crash"].validity, session["crash"].measured_accuracy) == ("failed", None)
    assert "the worker was ended by SIGSEGV" in session["crash"].measured_note


def with_golden(folder: Path, image: np.ndarray) -> Path:
    """The artifact with another golden input."""
    np.save(folder / "golden_input.npy", image)
    entry = file_entry(folder, "golden_input.npy", "golden-input")
    manifest = Manifest.read(folder / MANIFEST_FILE)
    files = tuple(entry if file.role == "golden-input" else file for file in manifest.files)
    manifest.model_copy(update={"files": files}).write(folder / MANIFEST_FILE)
    return folder


def test_moved_pictures_are_read_where_they_lie_now_if_they_are_those_of_the_artifact(make_artifact, pictures, weights):
    gone = ImageFolder(path="/no/such/folder")
    with Image.open(pictures / "validation" / "b" / "1.png") as picture:
        image = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    mine = with_golden(make_artifact("mine", dataset=gone, weights=weights), image)
    others = make_artifact("others", dataset=gone, weights=weights)
    bench = replace(BENCH, data=pictures)
    cells = plan([mine, others], batches=[1], threads=[1], refusal=BENCH.refusal).cells
    rows = {row.subject.name: row for _, row in bench.measure_all(cells, run_id="r", tell=lambda _: None)}
    predicted, labels = expected(pictures, weights)
    assert rows["mine"].measured_accuracy == pytest.approx(float(np.mean(predicted == labels)))
    assert rows["others"].measured_accuracy is None
    assert "are others: the artifact's golden input is not among them" in rows["others"].measured_note


def test_a_place_of_pictures_is_refused_where_none_are_read(tmp_path: Path):
    with pytest.raises(UsageError, match="no picture is read without --accuracy N"):
        AccuracyOptions(data=tmp_path)


def test_accuracy_is_not_measured_unless_asked_for(make_artifact, pictures):
    folder = make_artifact("tiny", dataset=ImageFolder(path=str(pictures)))
    cells = plan([folder], batches=[1], threads=[1], refusal=BENCH.refusal).cells
    bench = replace(BENCH, accuracy_images=0)
    ((_, row),) = bench.measure_all(cells, run_id="r", tell=lambda _: None)
    assert (row.measured_accuracy, row.measured_images, row.measured_note) == (None, 0, "")
