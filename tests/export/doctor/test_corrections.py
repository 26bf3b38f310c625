"""Equalisation changes no bit of the float network and cures a loud channel; bias correction removes the mean shift."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from distill.errors import UsageError
from distill.vision.models import ImageClassifier
from export.doctor.sensitivity import measure_layers
from export.graph.layers import trace
from export.quantize.bias_correction import correct_bias, mean_shifts
from export.quantize.equalisation import equalise, factors, find_pairs
from export.quantize.fake_quantization import fake_activation, fake_weight, find_ranges
from export.quantize.recipe import QuantizationRecipe
from export.quantize.weight_corrections import corrected

RECIPE = QuantizationRecipe()


class Fork(nn.Module):
    """As a pair, but something else reads the channels in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(images)
        return (features + self.second(features)).mean((2, 3))


def test_equalisation_finds_pairs_with_relu_between_and_changes_no_bit(
    loud_model: ImageClassifier, images: torch.Tensor
) -> None:
    traced = trace(loud_model, images)
    pairs = [(first.name, second.name) for first, second in find_pairs(loud_model, traced)]
    assert pairs == [("network.expand.0", "network.depthwise.0"), ("network.depthwise.0", "network.project.0")]
    even = copy.deepcopy(loud_model)
    assert equalise(even, traced) == 2
    changed = [
        name for name, value in even.state_dict().items() if not torch.equal(value, loud_model.state_dict()[name])
    ]
    assert "network.expand.1.weight" in changed
    assert "network.depthwise.0.weight" in changed
    with torch.no_grad():
        assert torch.equal(even(images), loud_model(images))


def test_equalisation_cures_a_loud_channel(loud_model: ImageClassifier, images: torch.Tensor) -> None:
    def sensitivity(model: ImageClassifier) -> float:
        layers = measure_layers(model, images.numpy(), images.numpy(), RECIPE)
        return {each.layer: each.sqnr_db for each in layers}["network.expand"]

    even = copy.deepcopy(loud_model)
    equalise(even, trace(even, images))
    assert sensitivity(even) > sensitivity(loud_model) + 20


def test_factors_are_powers_of_two_that_even_the_channels_out() -> None:
    norm, depthwise = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4)
    norm.weight.data = torch.tensor([1.0, 1.0, 64.0, 1 / 64])
    found = factors(norm, depthwise)
    assert found.tolist() == [1.0, 1.0, 64.0, 1 / 64]
    pointwise = nn.Conv2d(4, 2, 1)
    pointwise.weight.data.fill_(1.0)
    assert factors(norm, pointwise).tolist() == [1.0, 1.0, 8.0, 1 / 8]


def test_what_something_else_reads_is_not_scaled(images: torch.Tensor) -> None:
    model = Fork().eval().requires_grad_(False)
    assert find_pairs(model, trace(model, images)) == []


def test_mean_shifts_against_a_slow_twin(model: ImageClassifier, images: torch.Tensor) -> None:
    traced = trace(model, images)
    ranges = find_ranges(traced, images, RECIPE)
    shifts = mean_shifts(traced, images, ranges, per_channel=True)
    seen: list[torch.Tensor] = []
    model.network.classifier.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        model(images[:50])
    features = seen[0]
    weight = model.network.classifier.weight
    quantized = fake_activation(features, ranges.sources["network.classifier"]).numpy() @ (
        fake_weight(weight, per_channel=True).numpy().T
    )
    expected = (quantized - features.numpy() @ weight.numpy().T).mean(0)
    np.testing.assert_allclose(shifts["network.classifier"].numpy(), expected, atol=1e-6)


def test_bias_correction_takes_the_shift_off_where_the_layer_has_its_offset(
    model: ImageClassifier, images: torch.Tensor
) -> None:
    traced = trace(model, images)
    shifts = mean_shifts(traced, images, find_ranges(traced, images, RECIPE), per_channel=True)
    fixed = copy.deepcopy(model)
    recipe = RECIPE.model_copy(update={"float_layers": ("network.stem",)})
    assert correct_bias(fixed, traced, images, recipe) == 4
    state, before = fixed.state_dict(), model.state_dict()
    changed = {name for name, value in state.items() if not torch.equal(value, before[name])}
    norms = {f"network.{name}.1.running_mean" for name in ("expand", "depthwise", "project")}
    assert changed == {*norms, "network.classifier.bias"}
    moved = before["network.classifier.bias"] - state["network.classifier.bias"]
    torch.testing.assert_close(moved, shifts["network.classifier"], atol=1e-6, rtol=0)
    mean = "network.expand.1.running_mean"
    torch.testing.assert_close(state[mean] - before[mean], shifts["network.expand.0"], atol=1e-6, rtol=0)


def test_corrections_are_made_on_a_copy_and_once(loud_model: ImageClassifier, images: torch.Tensor) -> None:
    pictures = images.numpy()
    before = copy.deepcopy(loud_model.state_dict())
    assert corrected(loud_model, None, pictures) is loud_model
    assert corrected(loud_model, RECIPE, pictures) is loud_model
    recipe = QuantizationRecipe(equalise=True, correct_bias=True)
    both = corrected(loud_model, recipe, pictures)
    assert both is not loud_model
    assert corrected(loud_model, recipe, pictures) is both
    assert all(torch.equal(value, before[name]) for name, value in loud_model.state_dict().items())
    even = corrected(loud_model, QuantizationRecipe(equalise=True), pictures)
    assert even is corrected(loud_model, QuantizationRecipe(equalise=True, calibrator="mse"), pictures)
    with torch.no_grad():
        assert torch.equal(even(images), loud_model(images))
    with pytest.raises(UsageError, match="need a precision that is calibrated"):
        corrected(loud_model, recipe, None)
