from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.methods import Outputs
from distill.methods.dist import DISTConfig, correlations, relations
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]
LABELS = torch.arange(7) % 4


def test_equals_the_slow_numpy_twin(logits: Draw, softmax: Callable[..., np.ndarray]) -> None:
    student, teacher = logits(7, 4, seed=0), logits(7, 4, seed=1)
    p, q = (np.array([softmax(row, 2.0) for row in values.numpy()]) for values in (student, teacher))
    between = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(7)])
    within = np.mean([1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(4)])
    found = [loss.item() for loss in relations(student, teacher, temperature=2.0)]
    assert found == pytest.approx([4 * between, 4 * within], abs=1e-10)


def test_order_and_a_constant_do_not_matter_and_alike_is_nothing_to_learn(logits: Draw) -> None:
    student, teacher, order = logits(7, 4, seed=2), logits(7, 4, seed=3), torch.randperm(7)
    expected = [loss.item() for loss in relations(student, teacher, temperature=1.0)]
    for other in (
        relations(student[order], teacher[order], temperature=1.0),
        relations(student + 5, teacher, temperature=1.0),
    ):
        assert [loss.item() for loss in other] == pytest.approx(expected, abs=1e-10)
    assert [loss.item() for loss in relations(student, student, temperature=1.0)] == pytest.approx([0, 0], abs=1e-12)


def test_a_students_row_without_spread_has_a_bounded_gradient() -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    correlations(student, torch.tensor([[0.2, 0.3, 0.5]])).sum().backward()
    assert student.grad is not None
    assert 1 < student.grad.abs().max() < 100
    assert correlations(torch.rand(1, 3), torch.ones(1, 3)).item() == 0


def test_the_method_weighs_both_beside_the_labels(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=4), logits(7, 4, seed=5)
    method = built(DISTConfig(between_weight=3.0, within_weight=5.0))
    found = method((Outputs(student),), Outputs(teacher), samples(LABELS))
    between, within = relations(student, teacher, temperature=4.0)
    assert found["between"].item() == pytest.approx(3 * between.item())
    assert found["within"].item() == pytest.approx(5 * within.item())
    assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student, LABELS).item())
