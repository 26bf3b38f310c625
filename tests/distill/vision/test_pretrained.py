"""Weights to begin with fit the network that they are for; what must be made anew is, and is said."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.vision import pretrained
from distill.vision.models import MODELS, builder
from distill.vision.pretrained import PACKAGED, Packaged, begin_with, by_order, origin
from distill.vision.weights import Weights


class Small(nn.Module):
    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 8, 3)
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(self.norm(self.stem(images)).relu()).mean((2, 3)))


def build(name: str, classes: int) -> nn.Module:
    return builder(name)(classes)


def saved(path: Path, network: nn.Module) -> Path:
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def backbone(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("fc")}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_the_classifier_is_made_anew_for_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, network = Small(1000), Small(3)
    begin_with(network, str(saved(tmp_path / "w.pth", source)), "small")
    assert same(backbone(network), backbone(source))
    assert network.fc.weight.shape == (3, 8)
    assert "its classifier is for 1000 classes; a new one is trained" in capsys.readouterr().err


def test_a_new_classifier_begins_with_a_loss_of_the_logarithm_of_the_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = str(saved(tmp_path / "w.pth", build("timm:mobilenetv3_small_050", 1000)))
    first, second = (build("timm:mobilenetv3_small_050", 10) for _ in range(2))
    for network in (first, second):
        begin_with(network, file, "timm:mobilenetv3_small_050")
        features = 3 * torch.rand(64, network.classifier.in_features)  # as large as those of trained networks
        loss = nn.functional.cross_entropy(network.classifier(features), torch.arange(64) % 10).item()
        assert loss == pytest.approx(math.log(10), abs=0.35)
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


def test_the_classifier_is_kept_for_as_many_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, network = Small(3), Small(3)
    begin_with(network, str(saved(tmp_path / "w.pth", source)), "small")
    assert torch.equal(network.fc.weight, source.fc.weight)
    assert "a new one" not in capsys.readouterr().err


@pytest.mark.parametrize("rename", [{}, {"fc.": "head."}])
def test_a_backbone_without_this_classifier_will_do(tmp_path: Path, rename: dict[str, str]) -> None:
    source, network = Small(9), Small(3)
    state = source.state_dict() if rename else backbone(source)
    for old, new in rename.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    begin_with(network, str(tmp_path / "w.pth"), "small")
    assert same(backbone(network), backbone(source))


@pytest.mark.parametrize(("in_file", "ours"), [(3, 1), (1, 3)])
def test_the_first_convolution_takes_other_channels(tmp_path: Path, in_file: int, ours: int) -> None:
    """Three equal channels and the one that they are of give the same features."""
    source, network = Small(3, channels=in_file).eval(), Small(3, channels=ours).eval()
    begin_with(network, str(saved(tmp_path / "w.pth", source)), "small")
    grey = torch.rand(2, 1, 9, 9)
    with torch.inference_mode():
        expected = source(grey.expand(-1, in_file, -1, -1))
        assert torch.allclose(network(grey.expand(-1, ours, -1, -1)), expected, atol=1e-5)


def test_another_network_is_no_start(tmp_path: Path) -> None:
    deeper = Small(3)
    deeper.add_module("more", nn.Conv2d(8, 8, 1))
    with pytest.raises(UsageError, match="is no start for small: 2 unknown: more"):
        begin_with(Small(3), str(saved(tmp_path / "w.pth", deeper)), "small")
    torch.save({name: value for name, value in Small(3).state_dict().items() if "norm" not in name}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"is no start for small: .*missing: norm\.weight"):
        begin_with(Small(3), str(tmp_path / "w.pth"), "small")
    with pytest.raises(UsageError, match="do not exist"):
        begin_with(Small(3), str(tmp_path / "no.pth"), "small")


def test_a_run_folder_and_broken_weights_are_no_start(tmp_path: Path) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / "best" / "weights.safetensors").touch()
    with pytest.raises(UsageError, match=r"are a folder; name the file in it: .*/run/best/weights\.safetensors"):
        begin_with(Small(3), str(tmp_path / "run"), "small")
    network = Small(3)
    network.body.weight.data[0] = math.nan
    with pytest.raises(UsageError, match=r"1 of its tensors hold NaN or infinity, first body\.weight"):
        begin_with(Small(3), str(saved(tmp_path / "w.pth", network)), "small")


def test_the_origin_has_the_licence_that_lies_beside_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", Small(3))
    assert origin(str(path), "small").licence is None
    (tmp_path / "LICENSE.txt").write_text("Do what you like.")
    found = origin(str(path), "small")
    assert (found.name, found.sha256, found.licence) == ("w.pth", sha256_of_file(path), "Do what you like.")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that carries weights of `small` under another implementation's names."""
    folder = tmp_path / "site" / "small_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('its code is not needed')")
    source = Small(1000)
    torch.save({f"_{name.replace('.', '_')}": value for name, value in source.state_dict().items()}, folder / "w.pth")
    about = tmp_path / "site" / "small_weights-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: small-weights\nVersion: 1.2\n")
    (about / "RECORD").write_text("small_weights-1.2.dist-info/LICENSE,,\n")
    (about / "LICENSE").write_text("Apache License, Version 2.0")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(PACKAGED, "small", Packaged("small-weights", "w.pth", sha256_of_file(folder / "w.pth")))
    yield folder
    sys.modules.pop("small_weights", None)


def test_a_package_of_weights_is_mapped_by_order_and_verified_by_hash(package: Path) -> None:
    found = origin("pretrained", "small")
    assert (found.name, found.licence) == ("small-weights 1.2", "Apache License, Version 2.0")
    network = Small(3)
    begin_with(network, "pretrained", "small")
    stored = torch.load(package / "w.pth")
    assert torch.equal(network.body.weight, stored["_body_weight"])
    assert torch.equal(network.state_dict()["norm.running_var"], stored["_norm_running_var"])
    torch.save(Small(1000).state_dict(), package / "w.pth")
    with pytest.raises(UsageError, match="is not the file of small-weights that was verified"):
        origin("pretrained", "small")


def test_a_missing_package_and_a_network_without_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "small", Packaged("no-such-weights", "w.pth", ""))
    with pytest.raises(UsageError, match=r"package no-such-weights, which is not installed.*\[pretrained\]"):
        origin("pretrained", "small")
    with pytest.raises(
        UsageError, match="no package carries weights of resnet18; known are those of efficientnet_lite0"
    ):
        origin("pretrained", "resnet18")


def test_order_is_no_excuse_for_other_shapes() -> None:
    weights = Weights({"": {name: value for name, value in reversed(Small(3).state_dict().items())}})
    with pytest.raises(UsageError, match="it is of another network"):
        by_order(Small(3), weights, Path("w.pth"))


def test_every_packaged_network_is_in_the_table() -> None:
    assert set(pretrained.PACKAGED) <= set(MODELS)
