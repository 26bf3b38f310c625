"""The layer that was made sensitive on purpose is found, and the imitated integers are those of a slow twin."""

import numpy as np
import pytest
import torch

from distill.vision.models import ImageClassifier
from export.doctor.sensitivity import CEILING_DB, measure_layers, sqnr_db
from export.graph.layers import float_units, trace
from export.quantize.fake_quantization import fake_activation, fake_weight, find_ranges
from export.quantize.recipe import QuantizationRecipe

RECIPE = QuantizationRecipe()
LAYERS = {
    "network.stem.0": "network.stem",
    "network.expand.0": "network.expand",
    "network.depthwise.0": "network.depthwise",
    "network.project.0": "network.project",
    "network.classifier": "network.classifier",
}


def test_layers_are_named_by_the_block_that_holds_no_other_one(model: ImageClassifier, images: torch.Tensor) -> None:
    assert float_units(model) == LAYERS
    traced = trace(model, images)
    assert [layer.name for layer in traced.layers] == list(LAYERS)
    assert [layer.batch_norm for layer in traced.layers][:-1] == [f"{name}.1" for name in list(LAYERS.values())[:-1]]
    assert [len(part) for part in traced.batches(images)] == [50]


def test_the_layers_around_a_loud_channel_are_the_most_sensitive(
    model: ImageClassifier, loud_model: ImageClassifier, images: torch.Tensor
) -> None:
    with torch.no_grad():
        assert torch.equal(model(images), loud_model(images))
    progress: list[tuple[int, int]] = []
    pictures = images.numpy()
    before = {each.layer: each for each in measure_layers(model, pictures, pictures, RECIPE)}
    ranked = measure_layers(
        loud_model, pictures, pictures, RECIPE, on_progress=lambda done, total: progress.append((done, total))
    )
    assert progress == [(number, 5) for number in range(1, 6)]
    assert [each.layer for each in ranked[:2]] in (
        ["network.expand", "network.depthwise"],
        ["network.depthwise", "network.expand"],
    )
    assert [each.sqnr_db for each in ranked] == sorted(each.sqnr_db for each in ranked)
    for each in ranked[:2]:
        assert each.sqnr_db < before[each.layer].sqnr_db - 20
    for each in ranked[2:]:
        assert each == before[each.layer]


def test_ranges_are_those_of_the_values_around_each_layer(model: ImageClassifier, images: torch.Tensor) -> None:
    traced = trace(model, images)
    ranges = find_ranges(traced, images, RECIPE)
    seen: dict[str, torch.Tensor] = {}
    model.network.expand.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], y=output))
    with torch.no_grad():
        model(images[:50])
    assert ranges.sources["network.expand.0"] == (float(seen["x"].min()), float(seen["x"].max()))
    assert ranges.results["network.expand.0"] == (0.0, float(seen["y"].max()))


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_against_a_slow_twin(per_channel: bool) -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    weight[1] *= 100
    weight[2] = 0
    rounded = fake_weight(weight, per_channel=per_channel)
    for channel in range(4):
        largest = float(weight[channel].abs().max() if per_channel else weight.abs().max())
        for found, value in zip(rounded[channel].flatten().tolist(), weight[channel].flatten().tolist(), strict=True):
            scale = largest / 127
            assert found == pytest.approx(round(value / scale) * scale if scale else 0.0, rel=1e-5, abs=1e-7)


def test_activations_against_a_slow_twin() -> None:
    values = np.linspace(-3, 5, 401, dtype=np.float32)
    found = fake_activation(torch.from_numpy(values), (-1.0, 3.0)).numpy()
    levels = (np.arange(256) - 64) * (4.0 / 255)
    nearest = np.abs(values[:, None] - levels[None, :]).min(1)
    np.testing.assert_allclose(np.abs(values - found), nearest, atol=1e-5)
    assert 0.0 in found
    assert len(np.unique(found)) <= 256


def test_signal_to_noise_in_decibel() -> None:
    signal = torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    assert sqnr_db(signal, signal * 1.1) == pytest.approx(20.0, abs=1e-4)
    assert sqnr_db(signal, signal) == CEILING_DB
    assert sqnr_db(signal, signal + 7.0) == pytest.approx(CEILING_DB)
