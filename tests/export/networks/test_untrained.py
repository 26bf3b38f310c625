"""A network with random weights is a checkpoint that knows no accuracy."""

from pathlib import Path

import pytest

from distill import checkpoint as checkpoints
from distill.errors import UsageError
from distill.vision.preprocess import Preprocess
from export.networks.untrained import SEED, make_untrained
from export.proof.evidence import eager_logits
from export.proof.logits import spread_of
from export.proof.made_images import synthetic_images
from tests.export.test_command import run, unframed

GREY = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.5,))


def test_the_same_network_is_the_same_checkpoint_and_has_no_training(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_untrained("mobilenet_v3_small", 4, GREY, tmp_path / name)
    one, two = (checkpoints.read_card(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert (one.training, one.model, one.class_names[-1]) == (None, "mobilenet_v3_small", "class 3")


def test_a_network_that_does_not_exist_or_fits_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mobilenet_v3_small"):
        make_untrained("mobilenet_v3_smal", 4, GREY, tmp_path / "out")
    tiny = GREY.model_copy(update={"size_px": 8})
    with pytest.raises(UsageError, match="fails on a 3x8x8 image"):
        make_untrained("timm:vit_tiny_patch16_224", 4, tiny, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("num_classes", "task"), [(3, "segmentation"), (1, "depth")])
def test_a_network_for_every_pixel_is_a_checkpoint_of_its_task(tmp_path: Path, num_classes: int, task: str) -> None:
    make_untrained("lraspp_mobilenet_v3_small", num_classes, GREY, tmp_path)
    card = checkpoints.read_card(tmp_path)
    assert (card.task, len(card.class_names), card.training) == (task, num_classes, None)
    model, images = checkpoints.load(tmp_path).model, synthetic_images(GREY, SEED)
    logits = eager_logits(model, GREY, images, lambda done, total: None)
    assert logits.shape[1:] == (num_classes, 32, 32)
    assert logits.std() > 0.01


def test_a_classifier_of_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"two classes or more.*networks of depth, such as lraspp"):
        make_untrained("resnet8", 1, GREY, tmp_path)


def test_untrained_goes_with_model_and_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", "resnet18", "--untrained", "4", "--labels", "labels.txt") == 2
    assert "leave out --weights and --labels" in unframed(capsys.readouterr().err)
    assert run(tmp_path, "--untrained", "4") == 2
    assert "--untrained: a checkpoint's card says this itself" in unframed(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_convnext", "timm:test_vit"])
def test_its_answers_depend_on_the_picture_as_a_trained_networks_do(tmp_path: Path, name: str) -> None:
    colour = Preprocess(size_px=160, channels=3, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    make_untrained(name, 4, colour, tmp_path)
    model, images = checkpoints.load(tmp_path).model, synthetic_images(colour, SEED)
    logits = eager_logits(model, colour, images, lambda done, total: None)
    assert 1.0 < spread_of(logits) < 4.0
    assert len(set(logits.argmax(1))) == 4
    assert not any(parameter.unique().numel() == 1 for parameter in model.parameters() if parameter.numel() > 1)
