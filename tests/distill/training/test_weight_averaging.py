"""The moving average of weights, against the formula."""

import numpy as np
import pytest
import torch

from distill.config import WeightAveraging
from distill.training.weight_averaging import AveragedWeights
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.25,))


def network(seed: int) -> ImageClassifier:
    torch.manual_seed(seed)
    return build("torchvision:shufflenet_v2_x0_5", num_classes=3, preprocess=PREPROCESS)


def stir(model: ImageClassifier, seed: int) -> None:
    """New weights and new statistics; every counter one higher."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator))
            else:
                value.add_(1)


def test_the_average_is_the_formulas_for_weights_and_statistics_and_counters_are_copied() -> None:
    followed = network(0)
    averaged = AveragedWeights(WeightAveraging(decay=0.3), [followed], torch.device("cpu"))
    expected = {name: value.numpy().astype(np.float64) for name, value in followed.state_dict().items()}
    for step in range(4):
        stir(followed, step)
        averaged.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in followed.state_dict().items():
            theirs = value.numpy().astype(np.float64)
            is_counter = name.endswith("num_batches_tracked")
            expected[name] = theirs if is_counter else decay * expected[name] + (1 - decay) * theirs
    for name, value in averaged.networks[0].state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, err_msg=name)


def test_the_network_that_is_followed_is_left_alone_and_nothing_of_the_average_learns() -> None:
    followed = network(0)
    averaged = AveragedWeights(WeightAveraging(), [followed], torch.device("cpu"))
    stir(followed, 1)
    before = {name: value.clone() for name, value in followed.state_dict().items()}
    averaged.update(0)
    assert all(torch.equal(value, before[name]) for name, value in followed.state_dict().items())
    assert all(parameter.requires_grad for parameter in followed.parameters())
    assert not any(parameter.requires_grad for parameter in averaged.networks[0].parameters())


def test_an_average_that_is_put_back_goes_on_to_the_same_bits() -> None:
    followed = [network(0), network(1)]
    whole = AveragedWeights(WeightAveraging(decay=0.5), followed, torch.device("cpu"))
    stir(followed[0], 2)
    whole.update(0)
    resumed = AveragedWeights(WeightAveraging(decay=0.5), followed, torch.device("cpu"))
    resumed.load_state_dict(whole.state_dict())
    stir(followed[1], 3)
    for averages in (whole, resumed):
        averages.update(1)
    for ours, theirs in zip(whole.networks, resumed.networks, strict=True):
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_averages_nothing_or_never_moves_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        WeightAveraging(decay=decay)
