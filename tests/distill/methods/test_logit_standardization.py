from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods import Outputs
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig, decoupled_losses
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.logit_standardization import LogitStandardizationConfig, standardised
from distill.recipes import demo
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]
LABELS = torch.arange(7) % 4


def test_equals_the_slow_numpy_twin(
    logits: Draw, softmax: Callable[..., np.ndarray], divergence: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    student, teacher = logits(7, 4, seed=0), logits(7, 4, seed=1)
    scores = [[(row - row.mean()) / row.std(ddof=1) for row in values.numpy()] for values in (student, teacher)]
    soft = np.mean([divergence(softmax(t, 2.0), softmax(s, 2.0)) for s, t in zip(*scores, strict=True)])
    method = built(LogitStandardizationConfig())
    found = method((Outputs(student),), Outputs(teacher), samples(LABELS))
    assert found["soft"].item() == pytest.approx(10 * 0.9 * 4 * soft, abs=1e-9)
    label = torch.nn.functional.cross_entropy(student, LABELS).item()
    assert found["label"].item() == pytest.approx(0.1 * label, abs=1e-10)


def test_scale_and_shift_of_logits_are_not_taught(logits: Draw) -> None:
    student = logits(7, 4, seed=2)
    assert torch.allclose(standardised(5 * student - 3), standardised(student))
    assert standardised(student).std(dim=1).tolist() == pytest.approx([1.0] * 7)
    assert soft_target_loss(standardised(2 * student), standardised(student), temperature=2.0).item() < 1e-12


def test_equal_logits_stay_zero_with_a_bounded_gradient() -> None:
    constant = torch.full((2, 5), 3.0, requires_grad=True)
    found = standardised(constant)
    (found * torch.randn(2, 5)).sum().backward()
    assert not found.any()
    assert constant.grad is not None
    assert constant.grad.abs().max() < 100


def test_the_front_is_for_other_methods_too_and_keeps_what_they_train(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=3), logits(7, 4, seed=4)
    method = built(LogitStandardizationConfig(method=DecoupledKDConfig(), weight=2.0))
    found = method((Outputs(student),), Outputs(teacher), samples(LABELS))
    target, other = decoupled_losses(standardised(student), standardised(teacher), LABELS, temperature=4.0)
    assert found["target"].item() == pytest.approx(2 * target.item())
    assert found["other"].item() == pytest.approx(2 * 8 * other.item())
    method = built(LogitStandardizationConfig(method=CurriculumTemperatureConfig()))
    method.start_epoch(10)
    assert method.scalars()["lambda"] == pytest.approx(1.0)
    (group,) = method.parameter_groups()
    assert group["weight_decay"] == 0.0


def test_it_is_set_in_the_ways_of_every_method() -> None:
    config = with_overrides(demo(), ["method.kind=logit_standardization", "method.method.kind=dist"]).method
    assert isinstance(config, LogitStandardizationConfig)
    assert config.method.kind == "dist"
    with pytest.raises(UsageError, match="scratch"):
        with_overrides(demo(), ["method.kind=logit_standardization", "method.method.kind=scratch"])


def test_two_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="needs three classes or more, there are 2"):
        built(LogitStandardizationConfig(), num_classes=2)
