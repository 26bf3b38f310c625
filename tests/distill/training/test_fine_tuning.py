"""Two speeds, a rate for every layer, and parts that stand still: what the settings say is what learns."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from distill import checkpoint
from distill.config import RunConfig, TrainingSettings, parse, with_overrides
from distill.errors import UsageError
from distill.recipes import from_scratch
from distill.studies import short_demo
from distill.train import train, with_origins
from distill.training.fine_tuning import fine_tuning
from distill.vision.models import build

TINY = [
    "model=torchvision:shufflenet_v2_x0_5",
    "image.size_px=32",
    "dataset.train_patients=4",
    "dataset.validation_patients=2",
    "training.epochs=1",
    "training.batch_size=40",
    "device=cpu",
]


def network() -> nn.Module:
    blocks = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 3))
    found = nn.Module()
    found.stem, found.blocks, found.fc = nn.Conv2d(3, 4, 3), blocks, nn.Linear(4, 2)
    found.token = nn.Parameter(torch.zeros(1))
    return found


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"epochs": 1, "batch_size": 2, **changes}, strict=False)


def rates(net: nn.Module, chosen: TrainingSettings) -> dict[str, float]:
    tuning = fine_tuning(chosen, [net])
    return {name: tuning.factors.get(parameter, 1.0) for name, parameter in net.named_parameters()}


def test_without_settings_everything_learns_alike() -> None:
    tuning = fine_tuning(settings(), [network()])
    assert not tuning.factors
    assert not tuning.still


def test_two_speeds() -> None:
    found = rates(network(), settings(backbone_lr_factor=0.1))
    assert {name for name, rate in found.items() if rate == 1.0} == {"fc.weight", "fc.bias"}
    assert set(found.values()) == {0.1, 1.0}


def test_every_block_learns_slower_than_the_one_behind_it() -> None:
    found = rates(network(), settings(layer_lr_decay=0.5, backbone_lr_factor=0.5))
    assert found["fc.bias"] == 1.0
    assert found["blocks.1.weight"] == 0.25
    assert found["blocks.0.1.weight"] == 0.125
    assert found["blocks.0.0.weight"] == 0.0625
    assert found["stem.weight"] == found["token"] == 0.03125


def test_what_is_frozen_stands_still_with_its_statistics() -> None:
    net = network()
    tuning = fine_tuning(settings(frozen=("blocks.0",)), [net])
    assert {name for name, each in net.named_parameters() if not tuning.learns(each)} == {
        f"blocks.0.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    }
    net.train()
    tuning.hold_still()
    assert [name for name, module in net.named_modules() if not module.training] == ["blocks.0.1"]
    whole = rates(net, settings(frozen=("backbone",)))
    assert {name for name, rate in whole.items() if rate} == {"fc.weight", "fc.bias"}


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"no module 'blocks\.7'.*At its top are stem, blocks, fc"):
        fine_tuning(settings(frozen=("blocks.7",)), [network()])
    with pytest.raises(UsageError, match="leaves nothing to learn"):
        fine_tuning(settings(frozen=("backbone", "fc")), [network()])


def tiny(*more: str) -> RunConfig:
    return with_overrides(from_scratch(short_demo(), "scratch"), [*TINY, *more])


def changed(path: Path, start: dict[str, torch.Tensor]) -> set[str]:
    """What a run changed of the weights it began with: parts of the network."""
    now = checkpoint.load(path / "last").model.network.state_dict()
    return {name for name, value in now.items() if not torch.equal(value, start[name])}


@pytest.fixture
def start(tmp_path: Path) -> dict[str, torch.Tensor]:
    config = tiny()
    torch.manual_seed(5)
    found = build(config.model, num_classes=10, preprocess=config.preprocess).network.state_dict()
    torch.save(found, tmp_path / "start.pth")
    return found


def test_a_run_begins_with_the_weights_it_is_given_and_says_so_in_its_card(
    tmp_path: Path, start: dict[str, torch.Tensor]
) -> None:
    (tmp_path / "LICENSE").write_text("All mine.")
    config = tiny(f"student.weights={tmp_path / 'start.pth'}", 'student.frozen=["backbone"]')
    card = train(config, tmp_path / "run")
    assert changed(tmp_path / "run", start) == {"fc.weight", "fc.bias"}
    assert card.training is not None
    recorded = parse(json.dumps(card.training.config), source="card").training.origin
    assert recorded is not None
    assert (recorded.name, recorded.licence) == ("start.pth", "All mine.")
    assert train(config, tmp_path / "run") == card
    torch.save({name: value + 1 for name, value in start.items()}, tmp_path / "start.pth")
    with pytest.raises(UsageError, match="began with other weights than"):
        train(config, tmp_path / "run")


def test_statistics_stand_still_while_the_weights_learn(tmp_path: Path, start: dict[str, torch.Tensor]) -> None:
    train(tiny(f"training.weights={tmp_path / 'start.pth'}", "training.freeze_batch_norm=true"), tmp_path / "run")
    assert not {name for name in changed(tmp_path / "run", start) if "running" in name}
    assert {"conv1.0.weight", "fc.weight"} <= changed(tmp_path / "run", start)


def test_a_slow_backbone_moves_less(tmp_path: Path, start: dict[str, torch.Tensor]) -> None:
    moved = []
    for factor in ("1.0", "0.01"):
        more = (f"training.weights={tmp_path / 'start.pth'}", f"training.backbone_lr_factor={factor}")
        train(tiny(*more), tmp_path / factor)
        now = checkpoint.load(tmp_path / factor / "last").model.network.state_dict()
        moved.append((now["conv1.0.weight"] - start["conv1.0.weight"]).norm().item())
    assert moved[1] < 0.1 * moved[0]


def test_a_quantization_aware_run_is_not_tuned_in_parts() -> None:
    config = tiny("quantization_aware.from_run=RUN", 'training.frozen=["backbone"]')
    with pytest.raises(UsageError, match=r"trains all of it at one rate; leave training\.frozen out"):
        with_origins(config)
