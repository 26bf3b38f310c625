from pathlib import Path

import pytest
import torch

from distill import checkpoint
from distill.checkpoint import (
    Card,
    Checkpoint,
    DataIdentity,
    DepthMetrics,
    Judgement,
    Metrics,
    Mistake,
    SegmentationMetrics,
    Training,
)
from distill.errors import UsageError
from distill.vision.datasets import EchoPhantom
from distill.vision.models import build
from distill.vision.preprocess import Preprocess

GOLDEN = Path(__file__).parent / "golden" / "card.json"
PREPROCESS = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.25,))


def save(folder: Path) -> Checkpoint:
    torch.manual_seed(0)
    model = build("torchvision:shufflenet_v2_x0_5", num_classes=3, preprocess=PREPROCESS).eval()
    names = ("a", "b", "c")
    checkpoint.save(
        folder, model, name="torchvision:shufflenet_v2_x0_5", class_names=names, preprocess=PREPROCESS, training=None
    )
    return Checkpoint(Card.read(folder / "card.json"), model, folder)


def test_a_loaded_checkpoint_answers_exactly_as_the_saved_one(tmp_path: Path) -> None:
    saved = save(tmp_path)
    images = torch.rand(4, 1, 32, 32)
    loaded = checkpoint.load(tmp_path)
    assert not loaded.model.training
    with torch.inference_mode():
        assert torch.equal(loaded.model(images), saved.model(images))
    assert loaded.card.num_parameters == sum(p.numel() for p in saved.model.parameters())


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    save(tmp_path / "one")
    save(tmp_path / "two")
    for name in ("card.json", "weights.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "best")
    assert checkpoint.find(tmp_path) == tmp_path / "best"


def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UsageError, match="does not match its card: SHA-256 is"):
        checkpoint.load(tmp_path)


def test_missing_weights_and_missing_checkpoints_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"neither it nor its best/ holds a card\.json"):
        checkpoint.load(tmp_path)
    save(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has a card but no weights\.safetensors"):
        checkpoint.load(tmp_path)


def golden_card() -> Card:
    best = Metrics(epoch=10, accuracy=0.9125, macro_f1=0.91, ece=0.03, entropy_nats=0.25, loss=0.3)
    last = Metrics(epoch=12, accuracy=0.91, macro_f1=0.9, ece=0.04, entropy_nats=0.2, loss=0.31)
    training = Training(
        method="hinton_kd",
        config={"name": "demo", "seed": 0},
        teacher_sha256="ab" * 32,
        data=DataIdentity(
            config=EchoPhantom(),
            train_sha256="01" * 32,
            validation_sha256="23" * 32,
            num_train=3600,
            num_validation=1200,
            train_images=(1600, 2000),
            test_sha256="45" * 32,
            num_test=10,
        ),
        seed=0,
        epoch=10,
        best=best,
        last=last,
        finished=True,
        validation=Judgement(
            metrics=best,
            images=(500, 700),
            right=(480, 615),
            confusions=((1, 0, 85), (0, 1, 20)),
            mistakes=(Mistake(image=17, name="a4c/17.png", label=1, taken_for=0, confidence=0.75),),
        ),
        test=Judgement(metrics=best, images=(10, 0), right=(10, 0), confusions=()),
    )
    return Card(
        task="classification",
        model="mobilenet_v3_small",
        class_names=("plax", "a4c"),
        preprocess=PREPROCESS,
        temperature=1.0,
        num_parameters=1_528_106,
        weights_sha256="cd" * 32,
        training=training,
        versions={"torch": "2.13.0"},
    )


def test_the_card_on_disk_is_the_golden_file() -> None:
    """A difference here changes the contract: raise the schema version, or keep the file readable."""
    assert golden_card().to_json() + "\n" == GOLDEN.read_text()
    assert Card.read(GOLDEN) == golden_card()


def test_a_card_of_version_4_resizes_bilinearly_and_cuts_no_share() -> None:
    text = GOLDEN.with_name("card-4.json").read_text()
    assert "interpolation" not in text
    assert Card.from_json(text, source="card-4.json") == golden_card()


@pytest.mark.parametrize("version", [2, 3])
def test_cards_of_versions_2_and_3_classify_and_keep_no_mistakes(version: int) -> None:
    old, now = Card.read(GOLDEN.with_name(f"card-{version}.json")), golden_card()
    assert now.training is not None
    assert now.training.validation is not None
    without = now.training.validation.model_copy(update={"mistakes": ()})
    assert old == now.model_copy(update={"training": now.training.model_copy(update={"validation": without})})


def test_a_card_of_version_1_is_read_and_knows_nothing_of_what_came_later() -> None:
    old, now = Card.read(GOLDEN.with_name("card-1.json")), golden_card()
    assert old.training is not None
    assert now.training is not None
    data = now.training.data.model_copy(update={"train_images": (), "test_sha256": None, "num_test": 0})
    training = now.training.model_copy(update={"data": data, "validation": None, "test": None})
    assert old == now.model_copy(update={"training": training})


@pytest.mark.parametrize(
    "metrics",
    [
        SegmentationMetrics(epoch=1, miou=0.5, class_iou=(0.5, None), dice=0.6, pixel_accuracy=0.9, loss=1.0),
        DepthMetrics(epoch=1, rmse_m=0.5, rel=0.1, delta1=0.9, loss=0.3),
    ],
)
def test_a_card_keeps_the_measures_of_its_task(metrics: SegmentationMetrics | DepthMetrics) -> None:
    card = golden_card()
    assert card.training is not None
    judgement = Judgement(metrics=metrics, images=(), right=(), confusions=())
    training = card.training.model_copy(update={"best": metrics, "last": metrics, "validation": judgement})
    dense = card.model_copy(update={"training": training})
    assert Card.from_json(dense.to_json(), source="card.json") == dense


def test_a_judgement_names_the_weakest_class_and_what_it_is_taken_for() -> None:
    training = golden_card().training
    assert training is not None
    assert training.validation is not None
    assert training.test is not None
    assert training.validation.recall(1) == 615 / 700
    assert training.validation.weakest_first() == [1, 0]
    assert training.validation.taken_for(1) == (0, 85)
    assert training.test.recall(1) is None
    assert training.test.weakest_first() == [0, 1]
    assert training.test.taken_for(0) is None
