"""Taps read what a network computes inside, by name, and leave the network as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from distill.config import QuantizationAware
from distill.errors import UsageError
from distill.places import resolve
from distill.taps import TapPairs, Taps, probe
from distill.training.quantization_aware import FakeQuantized
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.distill.methods.toy import SIZE_PX, Stages, network

PREPROCESS = Preprocess(size_px=32, channels=1, mean=(0.2,), std=(0.2,))
IMAGES = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


class Reuses(nn.Module):
    """One in-place ReLU called twice, as in a ResNet's block, and a shortcut added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.relu(self.first(x))
        result = self.second(middle)
        result += x
        return self.relu(result)


def read(model: nn.Module, places: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    taps = Taps(model, places, overwritten=probe(model, model, places, x).overwritten)
    with taps.attached():
        model(x)
        return taps.take()


def test_what_an_in_place_operation_overwrites_is_read_before_it() -> None:
    model, x = Reuses(), torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    places = ("first", "second", "relu:input", "relu", "second:input")
    assert probe(model, model, places, x).overwritten == {"first", "second", "relu:input"}
    found = read(model, places, x)
    first = model.first(x)
    second = model.second(first.relu())
    expected = (first, second, second + x, (second + x).relu(), first.relu())
    assert list(found) == list(places)
    for place, value in zip(places, expected, strict=True):
        assert torch.equal(found[place], value), place


def test_a_tap_carries_the_gradient_to_what_it_depends_on_and_no_further() -> None:
    model, x = Reuses(), torch.randn(5, 4)
    upstream = probe(model, model, ("first", "second"), x).upstream
    assert upstream == {
        "first": {"first.weight", "first.bias"},
        "second": {"first.weight", "first.bias", "second.weight", "second.bias"},
    }
    read(model, ("first",), x)["first"].sum().backward()
    assert model.first.weight.grad is not None
    assert model.second.weight.grad is None


def test_a_network_has_no_hooks_outside_the_block_even_after_an_error() -> None:
    model = Reuses()
    taps = Taps(model, ("first", "relu:input"))
    with pytest.raises(RuntimeError, match="shapes"), taps.attached():
        model(torch.randn(2, 3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    copy.deepcopy(model)(torch.randn(2, 4))
    assert not taps.values


def test_a_probe_leaves_modes_statistics_and_random_numbers_alone() -> None:
    student = build("torchvision:shufflenet_v2_x0_5", num_classes=4, preprocess=PREPROCESS)
    student.network.get_submodule("stage2").eval()
    modes = [module.training for module in student.modules()]
    before, state = copy.deepcopy(student.state_dict()), torch.get_rng_state()
    found = probe(student, student.network, ("stage2", "stage4"), IMAGES)
    assert found.shapes == {"stage2": (48, 4, 4), "stage4": (192, 1, 1)}
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in student.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x1_0", "timm:test_convnext"])
def test_taps_of_stage_ends_change_nothing_that_is_computed(name: str) -> None:
    """Logits and gradients with taps are those without, to the bit."""
    torch.manual_seed(0)
    plain = build(name, num_classes=4, preprocess=PREPROCESS)
    tapped = copy.deepcopy(plain)
    places = resolve(TapPairs(), tapped.network, tapped.network).student
    taps = Taps(tapped.network, places, overwritten=probe(tapped, tapped.network, places, IMAGES).overwritten)
    torch.manual_seed(1)  # of dropout
    plain(IMAGES).square().sum().backward()
    torch.manual_seed(1)
    with taps.attached():
        tapped(IMAGES).square().sum().backward()
        assert [len(value) for value in taps.take().values()] == [3] * len(places)
    for left, right in zip(plain.parameters(), tapped.parameters(), strict=True):
        assert left.grad is not None
        assert right.grad is not None
        assert torch.equal(left.grad, right.grad)


def test_taps_read_the_rounded_network_of_a_quantization_aware_run() -> None:
    torch.manual_seed(0)
    student = build("mobilenet_v3_small_relu", num_classes=4, preprocess=PREPROCESS)
    model = FakeQuantized(student, torch.zeros(2, 1, 32, 32), QuantizationAware(from_run="unused"))
    places = resolve(TapPairs(), student.network, student.network).student
    found = probe(model, student.network, places, IMAGES)
    assert all(name.startswith("student.network.") for names in found.upstream.values() for name in names)
    taps = Taps(student.network, places, overwritten=found.overwritten)
    model.train()
    with taps.attached():
        model(IMAGES)  # as many operations as were found without hooks
        last = taps.take()[places[-1]]
    last.sum().backward()
    assert next(student.parameters()).grad is not None


def test_stage_ends_are_shared_from_the_deepest() -> None:
    mobile, shuffle = (
        build(name, num_classes=4, preprocess=PREPROCESS).network
        for name in ("mobilenet_v3_small", "shufflenet_v2_x1_0")
    )
    found = resolve(TapPairs(), mobile, shuffle)
    assert found.student == ("features.3", "features.8", "features.11")
    assert found.teacher == ("stage2", "stage3", "stage4")
    found = resolve(TapPairs(student=("stage-end:2", "features.12:input")), mobile, shuffle)
    assert found.student == ("features.3", "features.12:input")
    assert found.teacher == ("stage3", "stage4")
    assert resolve(TapPairs(teacher=("stage-end:-1",)), mobile, shuffle).student == ("features.11",)
    assert resolve(TapPairs(student=("features.0",)), mobile, None).teacher == ()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("stage.0", r"has no module 'stage.0' to tap. Did you mean stages"),
        ("stage-end:4", "stage-end:4 is no stage end of a Stages: it has 3 stages, stage-end:1 to stage-end:3"),
        ("stage-end:0", "stage-end:0 is no stage end"),
    ],
)
def test_a_place_that_is_not_there_is_refused_with_the_nearest(place: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(TapPairs(student=(place,)), Stages(4, width=4), None)


class Odd(nn.Module):
    """Gives two tensors, turns the batch away, and has a module that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.turned, self.unused = Pair(), nn.Flatten(0), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.turned(self.pair(x)[0]).sum()


class Pair(nn.Module):
    """A tensor, twice."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("pair", "pair of a Odd gives a tuple, no tensor to tap"),
        ("turned", r"gives \(12,\) for 3 images; expected one activation per image"),
        ("unused", "is never called, so it cannot be tapped"),
    ],
)
def test_what_cannot_be_tapped_is_refused(place: str, message: str) -> None:
    model = Odd()
    with pytest.raises(UsageError, match=message):
        probe(model, model, (place,), torch.rand(3, 4))


def test_a_place_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stages\.0 stands in the list more than once"):
        TapPairs(student=("stages.0", "stages.0"))


def test_the_toy_network_is_tapped_by_its_own_stage_ends() -> None:
    student = network(4)
    found = probe(student, student.network, resolve(TapPairs(), student.network, None).student, torch.zeros(2, 1, 8, 8))
    assert [tuple(shape) for shape in found.shapes.values()] == [(4, SIZE_PX, SIZE_PX), (8, 4, 4), (16, 2, 2)]
