import numpy as np
import pytest
import torch

from distill.evaluation.calibration import fit_temperature, halves, reliability
from distill.vision.datasets import Split


def calibrated_labels(logits: torch.Tensor, seed: int) -> torch.Tensor:
    """Labels drawn from the distribution that the logits state."""
    return torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(seed))[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_hidden_in_the_logits_is_found(temperature: float) -> None:
    honest = 2 * torch.randn(20_000, 5, generator=torch.Generator().manual_seed(0))
    labels = calibrated_labels(honest, seed=1)
    assert fit_temperature(honest * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_an_honest_network_has_a_diagonal_reliability_diagram() -> None:
    honest = 2 * torch.randn(50_000, 4, generator=torch.Generator().manual_seed(2))
    found = reliability(honest, calibrated_labels(honest, seed=3))
    assert sum(found.count) == 50_000
    for confidence, accuracy, count in zip(found.confidence, found.accuracy, found.count, strict=True):
        if count > 1000:
            assert accuracy == pytest.approx(confidence, abs=0.05)


def test_every_confidence_falls_into_the_bin_that_ends_with_it() -> None:
    """Bins are (low, high]: a probability of exactly 0.6 belongs to the ninth of 15 bins."""
    logits = torch.log(torch.tensor([[0.6, 0.4]], dtype=torch.float64))
    assert reliability(logits, torch.tensor([0])).count.index(1) in (8, 9)
    assert reliability(torch.tensor([[50.0, 0.0]]), torch.tensor([0])).count[-1] == 1


def test_halves_do_not_share_a_patient() -> None:
    groups = np.repeat(np.arange(10), 7)
    split = Split(np.zeros((70, 2, 2, 1), np.uint8), np.zeros(70, np.int64), ("a",), groups)
    first, second = halves(split)
    assert sorted(torch.cat([first, second]).tolist()) == list(range(70))
    assert not set(groups[first.numpy()]) & set(groups[second.numpy()])
