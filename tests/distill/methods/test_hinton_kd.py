"""Each loss against a slow NumPy twin and against what must hold whatever the numbers."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.methods import Outputs
from distill.methods.hinton_kd import HintonKDConfig, soft_target_loss
from tests.distill.methods.toy import built, samples


def logits(*shape: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_soft_target_loss(student: NDArray[np.float64], teacher: NDArray[np.float64], temperature: float) -> float:
    total = 0.0
    for row_s, row_t in zip(student, teacher, strict=True):
        p_s = np.exp(row_s / temperature) / np.exp(row_s / temperature).sum()
        p_t = np.exp(row_t / temperature) / np.exp(row_t / temperature).sum()
        total += sum(t * (np.log(t) - np.log(s)) for s, t in zip(p_s, p_t, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
def test_equals_the_slow_numpy_twin(temperature: float) -> None:
    student, teacher = logits(7, 5, seed=0), logits(7, 5, seed=1)
    expected = numpy_soft_target_loss(student.numpy(), teacher.numpy(), temperature)
    assert soft_target_loss(student, teacher, temperature=temperature).item() == pytest.approx(expected, abs=1e-10)


def test_a_student_that_says_what_the_teacher_says_costs_nothing() -> None:
    same = logits(4, 6, seed=2)
    # Adding a constant to all logits of an image changes no probability.
    assert soft_target_loss(same + 5, same, temperature=3.0).item() == pytest.approx(0, abs=1e-12)


def test_at_high_temperature_it_is_half_the_mean_squared_difference_of_centred_logits() -> None:
    student, teacher = logits(8, 10, seed=3), logits(8, 10, seed=4)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = (centred.pow(2).sum(1) / (2 * 10)).mean()
    assert soft_target_loss(student, teacher, temperature=1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_the_error_of_that_limit_falls_as_one_over_the_temperature() -> None:
    student, teacher = logits(8, 10, seed=3), logits(8, 10, seed=4)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = (centred.pow(2).sum(1) / (2 * 10)).mean()
    errors = [(soft_target_loss(student, teacher, temperature=t) - limit).item() for t in (1e3, 1e4)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=1e-2)


def test_at_low_temperature_it_is_what_the_student_prefers_to_the_teachers_choice_times_the_temperature() -> None:
    """KL -> -log p_s(argmax teacher) -> (max student - student(argmax teacher)) / T, so T^2 KL / T -> that margin."""
    student, teacher = logits(8, 10, seed=3), logits(8, 10, seed=4)
    margin = student.max(1).values - student.gather(1, teacher.argmax(1, keepdim=True))[:, 0]
    found = soft_target_loss(student, teacher, temperature=1e-3) / 1e-3
    assert found.item() == pytest.approx(margin.mean().item(), abs=1e-10)


def test_alpha_balances_soft_targets_and_labels_as_in_equation_4() -> None:
    student, teacher, labels = logits(6, 4, seed=5), logits(6, 4, seed=6), torch.tensor([0, 1, 2, 3, 0, 1])
    losses = built(HintonKDConfig(temperature=2.0, alpha=0.3))((Outputs(student),), Outputs(teacher), samples(labels))
    soft = numpy_soft_target_loss(student.numpy(), teacher.numpy(), 2.0)
    hard = torch.nn.functional.cross_entropy(student, labels).item()
    assert losses["soft"].item() == pytest.approx(0.3 * soft, abs=1e-10)
    assert losses["label"].item() == pytest.approx(0.7 * hard, abs=1e-10)


def test_half_precision_logits_are_compared_in_float32() -> None:
    student, teacher = logits(4, 5, seed=7).bfloat16(), logits(4, 5, seed=8).bfloat16()
    found = soft_target_loss(student, teacher, temperature=4.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(
        soft_target_loss(student.double(), teacher.double(), temperature=4.0).item(), 1e-4
    )


def test_no_gradient_reaches_the_teacher_through_detached_logits() -> None:
    student, teacher = logits(4, 5, seed=9).requires_grad_(), logits(4, 5, seed=10)
    soft_target_loss(student, teacher, temperature=4.0).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
