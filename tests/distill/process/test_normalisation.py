from typing import get_args

import numpy as np
import pytest
import torch

from distill.process.normalisation import Normalisation, normalised


def slow(raw: list[float], how: str) -> list[float]:
    powers, count = [np.exp(factor) for factor in raw], len(raw)
    length = sum(map(abs, raw))
    forms = {
        "biased_softmax": [power / (sum(powers) + np.e) for power in powers],
        "softmax": [power / sum(powers) for power in powers],
        "biased_l1": [factor / (length + 1) for factor in raw],
        "l1": [factor / length for factor in raw],
        "sigmoid": [1 / (1 + np.exp(-factor)) / count for factor in raw],
    }
    return forms[how]


@pytest.mark.parametrize("how", get_args(Normalisation))
def test_equals_the_slow_numpy_twin_far_out_too(how: Normalisation) -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 20.0):
        raw = scale * torch.randn(7, generator=generator, dtype=torch.float64)
        assert normalised(raw, how).tolist() == pytest.approx(slow(raw.tolist(), how), abs=1e-12)


@pytest.mark.parametrize("how", ["biased_softmax", "softmax", "sigmoid"])
def test_weights_are_positive_and_never_more_than_one_in_all(how: Normalisation) -> None:
    for raw in (torch.ones(27), 300 * torch.randn(27), torch.full((27,), -500.0)):
        weights = normalised(raw.double(), how)
        assert (weights >= 0).all()
        assert weights.sum() <= 1 + 1e-12


def test_at_the_start_27_pathways_have_a_28th_each_and_all_forms_give_about_as_much() -> None:
    weights = normalised(torch.ones(27).double(), "biased_softmax")
    assert weights.tolist() == pytest.approx([1 / 28] * 27)
    sums = [normalised(torch.ones(27).double(), how).sum().item() for how in get_args(Normalisation)]
    assert all(0.7 < total <= 1 + 1e-12 for total in sums)


def test_nothing_is_divided_by_a_length_of_zero() -> None:
    assert normalised(torch.zeros(3), "l1").tolist() == [0, 0, 0]
