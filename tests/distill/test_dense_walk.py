"""Segmentation through the one loop: data, teacher, student, card; and what is refused before any work."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill import checkpoint
from distill.checkpoint import DepthMetrics, SegmentationMetrics
from distill.config import RunConfig, parse
from distill.errors import UsageError
from distill.figures.runs import read_study
from distill.studies import STUDIES, short_segmentation
from distill.study.dense import segmentation_grid
from distill.study.run import STUDY_FILE, StudyCell, StudyFile
from distill.train import check_task, train
from distill.vision.datasets.echo_anatomy import STRUCTURES
from distill.vision.painting import class_colour
from tests.conftest import MakeOnce

TRAINING = {"epochs": 2, "batch_size": 4, "augment": {"crop_padding_px": 2}}


def facts(page: str) -> dict[str, str]:
    """What a run's page says in its lists, by head."""
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))


def segmentation(**changes: Any) -> RunConfig:
    """A student with a teacher that has an auxiliary head, on a handful of masks."""
    raw = {
        "name": "masks",
        "dataset": {
            "kind": "echo-phantom-masks",
            "train_patients": 2,
            "validation_patients": 1,
            "images_per_patient": 6,
        },
        "image": {"size_px": 32},
        "model": "lraspp_mobilenet_v3_small",
        "teacher": {
            "kind": "train",
            "model": "deeplabv3_mobilenet_v3_large",
            "training": TRAINING,
        },
        "method": {"kind": "hinton_kd"},
        "training": TRAINING,
    }
    return parse(json.dumps(raw | changes), source="test")


@pytest.fixture
def walked(make_once: MakeOnce) -> Path:
    """The folder of a finished run, beside that of its teacher."""
    return make_once("dense-walk", lambda path: train(segmentation(), path / "masks"))


def test_a_run_leaves_a_card_that_knows_its_task_and_its_measures(walked: Path) -> None:
    card = checkpoint.load(walked / "masks").card
    assert card.task == "segmentation"
    assert card.class_names == STRUCTURES
    training = card.training
    assert training is not None
    assert training.finished
    assert isinstance(training.best, SegmentationMetrics)
    assert len(training.best.class_iou) == len(STRUCTURES)
    assert training.validation is not None
    assert training.validation.metrics == training.best
    assert training.data.train_images == ()
    rows = [json.loads(line) for line in (walked / "masks" / "metrics.jsonl").read_text().splitlines()]
    assert training.best.miou == max(row["miou"] for row in rows)
    assert set(rows[0]["losses"]) == {"soft", "label"}


def test_the_page_shows_classes_by_their_iou_and_pictures_with_truth_and_answer(walked: Path) -> None:
    page = (walked / "masks" / "report.html").read_text()
    assert facts(page)["Judged by"] == "mIoU"
    assert facts(page)["Classes"] == "7"
    for number, name in enumerate(STRUCTURES):
        red, green, blue = class_colour(number)
        assert f'color: #{red:02x}{green:02x}{blue:02x}">■</span> {name}' in page
    assert page.count("data:image/") == 6
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


def test_a_head_that_only_training_needs_learns_beside_the_other(walked: Path) -> None:
    (teacher,) = walked.glob("teacher-*")
    rows = [json.loads(line) for line in (teacher / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]["losses"]) == {"label", "auxiliary"}
    assert rows[1]["losses"]["auxiliary"] < rows[0]["losses"]["auxiliary"]


def test_a_killed_run_ends_with_the_same_weights(walked: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(state: object) -> None:
        raise Killed

    (teacher,) = walked.glob("teacher-*")
    config = segmentation(teacher={"kind": "checkpoint", "path": str(teacher)})
    whole = train(config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", watch=kill)
    assert train(config, tmp_path / "killed", resume=True).weights_sha256 == whole.weights_sha256


def test_a_critic_is_trained_beside_the_student_and_a_killed_run_ends_with_the_same_one(
    walked: Path, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(state: object) -> None:
        raise Killed

    (teacher,) = walked.glob("teacher-*")
    config = segmentation(
        teacher={"kind": "checkpoint", "path": str(teacher)},
        method={"kind": "intra_class_feature_variation", "adversarial": {"width": 8, "weight": 1.0}},
    )
    whole = train(config, tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]["losses"]) == {"variation", "soft", "label", "adversarial", "critic"}
    assert rows[0]["losses"]["critic"] != rows[1]["losses"]["critic"]
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", watch=kill)
    assert train(config, tmp_path / "killed", resume=True).weights_sha256 == whole.weights_sha256


def test_a_teacher_of_another_task_is_refused(walked: Path, tmp_path: Path) -> None:
    views = {"kind": "echo-phantom", "train_patients": 2, "validation_patients": 1, "images_per_patient": 10}
    config = segmentation(
        dataset=views, model="mobilenet_v3_small", teacher={"kind": "checkpoint", "path": str(walked / "masks")}
    )
    with pytest.raises(UsageError, match="was trained for segmentation, the data set asks for classification"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_depth_learns_metres_from_labels_and_from_a_teachers_map(tmp_path: Path) -> None:
    rooms = {"kind": "indoor-phantom", "train_rooms": 4, "validation_rooms": 2, "images_per_room": 3}
    training = {
        "epochs": 4,
        "batch_size": 4,
        "augment": {"horizontal_flip": True},
        "optimizer": {"kind": "adamw", "lr": 0.01},
    }
    student = {"dataset": rooms, "model": "lraspp_mobilenet_v3_small", "training": training}
    teacher = {"kind": "train", "model": "lraspp_mobilenet_v3_small", "training": training | {"epochs": 2}}
    card = train(segmentation(**student, teacher=teacher), tmp_path / "depth")
    assert card.task == "depth"
    assert card.class_names == ("depth_m",)
    assert card.training is not None
    best = card.training.best
    assert isinstance(best, DepthMetrics)
    rows = [json.loads(line) for line in (tmp_path / "depth" / "metrics.jsonl").read_text().splitlines()]
    assert best.rmse_m == min(row["rmse_m"] for row in rows) < rows[0]["rmse_m"]
    assert set(rows[0]["losses"]) == {"soft", "label"}
    page = (tmp_path / "depth" / "report.html").read_text()
    assert f"RMSE {best.rmse_m:.3f} m" in page
    assert facts(page)["Judged by"] == "RMSE"
    assert "Classes" not in facts(page)
    assert page.count("data:image/") == 6
    zoomed = training | {"augment": {"resized_crop": {}}}
    with pytest.raises(UsageError, match=r"training\.augment\.resized_crop is of no use for"):
        train(segmentation(**student | {"training": zoomed}, teacher=teacher), tmp_path / "zoomed")


STUDY = segmentation_grid("demo-segmentation-study", short_segmentation(), ("lraspp_mobilenet_v3_small",), 1)
TECHNIQUES = {cell.technique: cell.config.method for cell in STUDY.cells}


@pytest.mark.parametrize("technique", ["IFVD + ReviewKD", "IFVD + pathways alike", "DistPro"])
def test_every_technique_of_the_study_teaches_a_network_of_pixels(technique: str, walked: Path, tmp_path: Path) -> None:
    (teacher,) = walked.glob("teacher-*")
    method = TECHNIQUES[technique].model_dump(mode="json")
    if technique == "DistPro":
        method["process"] |= {"epochs": 1, "held_back": 0.5}
    training = TRAINING | {"epochs": 1}
    config = segmentation(teacher={"kind": "checkpoint", "path": str(teacher)}, method=method, training=training)
    train(config, tmp_path / "run")
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert len(row["losses"]) > 1
    assert all(value >= 0 for value in row["losses"].values())
    if technique == "DistPro":
        (search,) = tmp_path.glob("search-*")
        assert len(json.loads((search / "process.json").read_text())["pathways"]) == 9


@pytest.mark.parametrize("name", ["demo-segmentation-study", "demo-depth-study", "segmentation-study", "depth-study"])
def test_every_cell_of_a_study_is_for_its_task(name: str) -> None:
    recipe = STUDIES[name]
    for cell in recipe.grid(name, recipe.base(), recipe.students, 1).cells:
        check_task(cell.config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "mobilenet_v3_small"}, r"expected logits \[2, classes, height, width\]\. Networks for segmentation"),
        ({"method": {"kind": "dist"}}, "method dist is for classification; the data set asks for segmentation"),
        (
            {"training": TRAINING | {"augment": {"mixup": 1.0}}},
            r"training\.augment\.mixup is of no use for segmentation",
        ),
        ({"training": TRAINING | {"label_smoothing": 0.1}}, "training.label_smoothing is of no use for"),
        ({"teacher": {"kind": "logits", "path": "a.npy"}}, "a teacher of kind logits answers for pictures"),
    ],
)
def test_what_is_for_pictures_alone_is_refused_before_any_work(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(segmentation(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_figures_of_classifiers_are_not_drawn_of_masks(walked: Path, tmp_path: Path) -> None:
    cell = StudyCell(
        technique="KD", baseline=None, group=None, model="m", seed=0, folder=str(walked / "masks"), teacher=None
    )
    study = StudyFile(name="masks", baseline="scratch", cells=(cell,))
    (tmp_path / STUDY_FILE).write_text(study.to_json())
    with pytest.raises(UsageError, match=r"is about segmentation; the figures are of papers on classifiers\."):
        read_study(tmp_path)
