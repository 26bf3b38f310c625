"""What can be tapped in the networks of libraries, seen in one call."""

import json
import sys

import pytest
import torch
from torch import Tensor, nn

from distill import terminal
from distill.__main__ import app
from distill.errors import UsageError
from distill.places import resolve
from distill.taps import TapPairs
from distill.vision.models import builder
from distill.vision.models.tap_points import Point
from distill.vision.models.walk import walk


@pytest.mark.parametrize(
    ("name", "blocks", "first", "last_end", "stem", "pooled"),
    [
        ("resnet18", 8, Point("layer1.0", "layer1.0.relu:input"), "layer4", "layer1.0:input", "fc:input"),
        ("timm:resnet18", 8, Point("layer1.0", "layer1.0.act2:input"), "layer4", "layer1.0:input", "fc:input"),
        (
            "mobilenet_v3_small",
            11,
            Point("features.1", "features.1"),
            "features.11",
            "features.1:input",
            "classifier.0:input",
        ),
        ("shufflenet_v2_x1_0", 16, Point("stage2.0", "stage2.0"), "stage4", "stage2.0:input", "fc:input"),
        (
            "timm:test_convnext",
            9,
            Point("stages.0.blocks.0", "stages.0.blocks.0"),
            "stages.3",
            "stages.0.blocks.0:input",
            "head.fc:input",
        ),
    ],
)
def test_the_points_of_library_networks(
    name: str, blocks: int, first: Point, last_end: str, stem: str, pooled: str
) -> None:
    points = walk(builder(name)(4), size_px=64).tap_points()
    assert len(points.blocks) == blocks
    assert points.blocks[0] == first
    assert points.stage_ends[-1].post == last_end
    assert points.stem is not None
    assert points.stem.post == stem
    assert points.pooled == pooled


def test_a_vision_transformer_has_blocks_but_no_stages() -> None:
    network = builder("timm:test_vit")(4)
    points = walk(network, size_px=160).tap_points()
    assert [point.post for point in points.blocks] == [f"blocks.{number}" for number in range(6)]
    assert (points.stage_ends, points.pooled) == ((), "head:input")
    found = resolve(TapPairs(student=("block:-1", "pooled")), network, None, student_px=160)
    assert found.student == ("blocks.5", "head:input")


class InPlace(nn.Module):
    """A sum in place between normalisation and an activation in place, which two places share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.first(x))
        inner = self.norm(inner)
        inner += 1
        return self.head(self.relu(inner).mean((2, 3)))


def test_before_and_after_are_told_by_the_value_and_not_by_the_tensor() -> None:
    found = walk(InPlace(), size_px=8)
    assert {place.path: place.activation for place in found.places()} == {
        "first": "pre",
        "norm": None,  # something is added before the activation
        "relu": "post",
        "head:input": None,
        "head": None,
    }
    assert found.before_activation("relu") == "relu:input"
    assert found.before_activation("norm") == "norm"


def test_a_walk_leaves_modes_and_statistics_alone_and_refuses_a_size_in_words() -> None:
    network = builder("mobilenet_v3_small")(4)
    network.get_submodule("features.2").eval()
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    walk(network)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    with pytest.raises(UsageError, match="a VisionTransformer fails on images of 32x32"):
        walk(builder("timm:vit_tiny_patch16_224")(4), size_px=32)


def test_points_are_places_by_name_before_and_after_the_activation() -> None:
    wide, plain = builder("wrn_16_1")(4), builder("resnet18")(4)
    pairs = TapPairs(student=("stem", "block:2", "stage-end:-1:pre"), teacher=("stem", "block:1:pre", "layer4:pre"))
    found = resolve(pairs, wide, plain)
    assert found.student == ("stages.0.0.relu1", "stages.1.0.relu1", "relu1:input")
    assert found.teacher == ("layer1.0:input", "layer1.0.relu:input", "layer4.1.relu:input")
    found = resolve(TapPairs(student="stage-ends:pre", teacher="stage-ends:pre"), wide, plain)
    assert found.student == ("stages.1.0.relu1:input", "stages.2.0.relu1:input", "relu1:input")
    assert found.teacher == tuple(f"layer{number}.1.relu:input" for number in (2, 3, 4))
    found = resolve(TapPairs(student="blocks", teacher="blocks"), wide, plain)
    assert (len(found.student), len(found.teacher)) == (6, 8)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("block:9", "block:9 is no block of a ResNet: it has 8 blocks, block:1 to block:8, or block:-1"),
        ("layer5:pre", "has no module 'layer5' to tap. Did you mean layer"),
    ],
)
def test_a_point_that_is_not_there_is_refused(place: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(TapPairs(student=(place,)), builder("resnet18")(4), None)
    with pytest.raises(UsageError, match="a InPlace has no stem that could be recognised"):
        resolve(TapPairs(student=("stem",)), InPlace(), None)


def test_the_command_lists_all_places_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["distill", "taps", *words])
        with pytest.raises(SystemExit) as ended:
            terminal.run(app)
        assert ended.value.code in (0, None)
        captured = capsys.readouterr()
        return captured.out + captured.err

    assert "stages.0.0.relu:input" in run("resnet8", "--size", "32").replace("\n", " ")
    places = {place["path"]: place for place in json.loads(run("resnet8", "--json"))}
    assert places["stem"]["names"] == ["stem"]
    assert places["stages.1.0"] == {
        "path": "stages.1.0",
        "shape": [32, 16, 16],
        "activation": "post",
        "names": ["block:2", "stage-end:2"],
    }
    assert places["stages.1.0.relu:input"]["names"] == ["block:2:pre", "stage-end:2:pre"]
    assert places["stages.1.0.relu:input"]["activation"] == "pre"
    assert list(places)[-2:] == ["fc:input", "fc"]
    assert places["fc:input"]["names"] == ["pooled"]
