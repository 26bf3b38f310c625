"""Branches are folded and computed weights fixed, with the logits that the network had; nothing else is touched."""

import warnings

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import StdConv2d
from timm.layers.std_conv import ScaledStdConv2d, StdConv2dSame
from torch import Tensor, nn

from distill.vision.deployment import deployed
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=32, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def classifier(network: nn.Module) -> ImageClassifier:
    """In eval mode, with statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    model = ImageClassifier(network, PREPROCESS).train()
    with torch.no_grad():
        model(IMAGES * 2 - 0.5)
    return model.eval()


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(IMAGES)


class Branched(nn.Module):
    """Two convolutions side by side, which RepVGG's method of that name makes one."""

    def __init__(self, wrong: bool = False) -> None:
        super().__init__()
        self.large, self.small = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "small"):
            return self.large(x)
        return self.large(x) + self.small(x)

    def switch_to_deploy(self) -> None:
        with torch.no_grad():
            self.large.weight[:, :, 1:2, 1:2] += self.small.weight
            self.large.bias += 0 if self.wrong else self.small.bias
        del self.small


def head(*layers: nn.Module, width: int = 8) -> nn.Sequential:
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def test_a_network_of_timms_is_folded_with_its_logits() -> None:
    model = classifier(timm.create_model("test_byobnet", num_classes=4))
    plain = deployed(model, PREPROCESS.input_shape)
    assert (plain.folded, plain.failure) == (False, None)
    torch.manual_seed(0)
    model = classifier(timm.create_model("repghostnet_050", num_classes=4))
    before = logits(model)
    found = deployed(model, PREPROCESS.input_shape)
    assert (found.folded, found.failure) == (True, None)
    assert torch.equal(logits(model), before), "the model itself is not changed"
    torch.testing.assert_close(logits(found.model), before, rtol=1e-4, atol=1e-4)
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (found.model, model)]
    assert sizes[0] < sizes[1]


def test_branches_of_the_users_own_are_folded_and_a_wrong_folding_is_left_and_said() -> None:
    model = classifier(head(Branched()))
    found = deployed(model, PREPROCESS.input_shape)
    assert found.folded
    assert not hasattr(found.model.network[0], "small")
    torch.testing.assert_close(logits(found.model), logits(model), rtol=1e-5, atol=1e-5)
    wrong = classifier(head(Branched(wrong=True)))
    left = deployed(wrong, PREPROCESS.input_shape)
    assert left.model is wrong
    assert "folded, its logits are off by" in str(left.failure)


class Broken(nn.Identity):
    def fuse(self) -> None:
        raise NotImplementedError("not for this one")


def test_a_folding_that_fails_is_left_and_said() -> None:
    model = classifier(head(nn.Conv2d(3, 8, 3), Broken()))
    found = deployed(model, PREPROCESS.input_shape)
    assert (found.model is model, found.failure) == (True, "NotImplementedError: not for this one")


def weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


class Standardised(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        (lambda: StdConv2d(3, 8, 3, 2, 1, bias=True), 8),
        (lambda: StdConv2dSame(3, 8, 3, 2), 8),
        (lambda: ScaledStdConv2d(3, 8, 3, groups=1), 8),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), 8),
        (lambda: weight_norm(nn.Conv2d(3, 8, 3)), 8),
        (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(2), Standardised(16, 9)), 3),
    ],
    ids=["standardised", "same padding", "scaled", "weight norm", "old weight norm", "linear"],
)
def test_weights_computed_from_weights_are_computed_once_with_the_same_bits(layer, width: int) -> None:
    torch.manual_seed(1)
    tail = head(width=8) if width == 8 else nn.Sequential(nn.Flatten(), nn.Linear(27, 4))
    model = classifier(nn.Sequential(layer(), tail))
    found = deployed(model, PREPROCESS.input_shape)
    assert (found.num_fixed, found.folded) == (1, False)
    assert torch.equal(logits(found.model), logits(model))
    again = deployed(found.model, PREPROCESS.input_shape)
    assert again.model is found.model, "nothing is left to do"


class WeightsOfThePicture(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * x.mean(), self.bias)


def test_weights_computed_from_the_picture_and_plain_layers_are_left() -> None:
    for network in (head(WeightsOfThePicture(3, 8, 3)), head(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))):
        model = classifier(network)
        assert deployed(model, PREPROCESS.input_shape).model is model
