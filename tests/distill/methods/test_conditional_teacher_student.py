from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.methods import Outputs
from distill.methods.conditional_teacher_student import ConditionalTeacherStudentConfig, conditional_losses
from distill.methods.hinton_kd import soft_target_loss
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]


def label_losses(student: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(student, labels, reduction="none")


def test_equals_the_slow_numpy_twin(
    logits: Draw, softmax: Callable[..., np.ndarray], divergence: Callable[..., float]
) -> None:
    student, teacher, labels = logits(9, 4, seed=0), logits(9, 4, seed=1), torch.arange(9) % 4
    expected_soft, expected_label = 0.0, 0.0
    for s, t, y in zip(student.numpy(), teacher.numpy(), labels.tolist(), strict=True):
        if t.argmax() == y:
            expected_soft += 16 * divergence(softmax(t, 4), softmax(s, 4)) / 9
        else:
            expected_label += -np.log(softmax(s)[y]) / 9
    assert expected_soft > 0
    assert expected_label > 0
    soft, label = conditional_losses(student, teacher, labels, label_losses(student, labels), temperature=4.0)
    assert soft.item() == pytest.approx(expected_soft, abs=1e-10)
    assert label.item() == pytest.approx(expected_label, abs=1e-10)


def test_a_teacher_that_is_always_right_is_plain_distillation(logits: Draw) -> None:
    student, teacher = logits(6, 5, seed=2), logits(6, 5, seed=3)
    labels = teacher.argmax(1)
    soft, label = conditional_losses(student, teacher, labels, label_losses(student, labels), temperature=4.0)
    assert soft.item() == pytest.approx(soft_target_loss(student, teacher, temperature=4.0).item(), abs=1e-12)
    assert label.item() == 0


def test_a_teacher_that_is_always_wrong_is_plain_supervision(logits: Draw) -> None:
    student, teacher = logits(6, 5, seed=4), logits(6, 5, seed=5)
    labels = (teacher.argmax(1) + 1) % 5
    losses = built(ConditionalTeacherStudentConfig())((Outputs(student),), Outputs(teacher), samples(labels))
    assert losses["soft"].item() == 0
    assert losses["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student, labels).item())


def test_the_soft_branch_vanishes_where_the_student_says_what_the_teacher_says(logits: Draw) -> None:
    same, labels = logits(9, 4, seed=6), torch.arange(9) % 4
    soft, label = conditional_losses(same + 3, same, labels, label_losses(same, labels), temperature=4.0)
    assert soft.item() == pytest.approx(0, abs=1e-10)
    assert label.item() > 0
