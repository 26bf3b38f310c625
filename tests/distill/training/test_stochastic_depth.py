"""Stochastic depth: later blocks are left out oftener, inference is what it was, and networks without are refused."""

from pathlib import Path

import pytest
import torch
from timm.layers import DropPath

from distill import checkpoint
from distill.config import RunConfig, with_overrides
from distill.errors import UsageError
from distill.recipes import from_scratch
from distill.studies import short_demo
from distill.train import train
from distill.training.stochastic_depth import set_stochastic_depth
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.25,))

TINY = [
    "model=timm:mobilenetv4_conv_small",
    "image.size_px=32",
    "dataset.train_patients=4",
    "dataset.validation_patients=2",
    "training.epochs=1",
    "training.batch_size=40",
    "device=cpu",
]


def network(name: str) -> ImageClassifier:
    torch.manual_seed(0)
    return build(name, num_classes=3, preprocess=PREPROCESS)


def rates(model: ImageClassifier) -> list[float]:
    return [module.drop_prob or 0.0 for module in model.modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize(
    ("name", "residual_blocks"),
    [("efficientnet_lite0", 9), ("torchvision:efficientnet_b0", 9), ("timm:mobilenetv4_conv_small", 10)],
)
def test_the_rate_grows_evenly_to_that_of_the_last_residual_block(name: str, residual_blocks: int) -> None:
    model = network(name)
    weights, images = list(model.state_dict()), torch.rand(2, 1, 32, 32)
    before = model.eval()(images)
    set_stochastic_depth(model.network, 0.2)
    assert rates(model) == pytest.approx([0.2 * (number + 1) / residual_blocks for number in range(residual_blocks)])
    assert list(model.state_dict()) == weights
    assert torch.equal(model.eval()(images), before)


def test_two_branches_of_a_transformers_block_have_one_rate() -> None:
    model = build("timm:vit_tiny_patch16_224", num_classes=3, preprocess=PREPROCESS.model_copy(update={"size_px": 224}))
    set_stochastic_depth(model.network, 0.12)
    assert rates(model) == pytest.approx([0.01 * number for number in range(1, 13) for _ in range(2)])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "ghostnet_100", "resnet18"])
def test_a_network_without_is_refused_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    changes = [f"model={name}", "image.size_px=64", "training.stochastic_depth=0.1"]
    with pytest.raises(UsageError, match=r"training.stochastic_depth=0\.1: \w+ has no residual blocks"):
        train(config(*changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_it_is_its_own_run_and_keeps_an_ordinary_network(tmp_path: Path) -> None:
    plain, with_it = config(), config("training.stochastic_depth=0.5")
    train(with_it, tmp_path / "run")
    train(plain, tmp_path / "plain")
    ours, theirs = (checkpoint.load(tmp_path / name / "best").model for name in ("run", "plain"))
    assert not rates(ours)
    assert not torch.equal(next(ours.parameters()), next(theirs.parameters()))


def config(*changes: str) -> RunConfig:
    return with_overrides(from_scratch(short_demo(), "deep"), [*TINY, *changes])
