"""A network with random weights is a checkpoint that knows no accuracy."""

from pathlib import Path

import pytest

from distill import checkpoint as checkpoints
from distill.errors import UsageError
from distill.vision.preprocess import Preprocess
from export.networks.untrained import make_untrained
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


def test_untrained_goes_with_model_and_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", "resnet18", "--untrained", "4", "--labels", "labels.txt") == 2
    assert "leave out --weights and --labels" in unframed(capsys.readouterr().err)
    assert run(tmp_path, "--untrained", "4") == 2
    assert "--untrained: a checkpoint's card says this itself" in unframed(capsys.readouterr().err)
