import numpy as np
import pytest
import torch

from distill.methods.probabilistic_knowledge_transfer import (
    ProbabilisticKnowledgeTransferConfig,
    neighbour_loss,
    neighbours,
)
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples


def points(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    student, teacher = points(5, 4, seed=0), points(5, 6, seed=1)
    chosen = []
    for values in (student.numpy(), teacher.numpy()):
        unit = [row / (np.sqrt((row**2).sum()) + 1e-7) for row in values]
        similar = np.array([[(a @ b + 1) / 2 for a in unit] for b in unit])
        chosen.append(np.array([row / row.sum() for row in similar]))
    q, p = chosen
    expected = np.mean([[p[i][j] * np.log((p[i][j] + 1e-7) / (q[i][j] + 1e-7)) for i in range(5)] for j in range(5)])
    assert neighbour_loss(student, teacher).item() == pytest.approx(expected, abs=1e-10)


def test_order_and_scale_do_not_matter_and_alike_is_nothing_to_learn() -> None:
    student, teacher, order = points(6, 3, 2, seed=2), points(6, 5, seed=3), torch.tensor([3, 1, 5, 0, 2, 4])
    expected = neighbour_loss(student, teacher).item()
    assert neighbour_loss(student[order], teacher[order]).item() == pytest.approx(expected, abs=1e-12)
    assert neighbour_loss(7 * student, teacher).item() == pytest.approx(expected, abs=1e-7)
    assert neighbour_loss(student, student).item() == 0


def test_an_image_that_activates_nothing_has_no_gradient_and_is_as_near_as_a_right_angle() -> None:
    student = points(6, 12, seed=5).relu()
    student[2] = 0
    student.requires_grad_()
    neighbour_loss(student, points(6, 12, seed=6)).backward()
    assert student.grad is not None
    assert not student.grad[2].any()
    assert student.grad.abs().max() < 1
    assert neighbours(student)[2].tolist() == pytest.approx([1 / 6] * 6)


def test_the_method_weighs_beside_the_labels() -> None:
    torch.manual_seed(0)
    student, teacher, labels = network(3), network(3, width=8), torch.arange(6) % 3
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(ProbabilisticKnowledgeTransferConfig(weight=100.0), [student], teacher, labels)
    found = losses_of(run, [student], teacher, images, samples(labels))
    pooled = [model.network.stages((images - model.mean) * model.inverse_std) for model in (student, teacher)]  # type: ignore[operator, union-attr]
    assert found["neighbours"].item() == pytest.approx(100 * neighbour_loss(*pooled).item(), rel=1e-3)
