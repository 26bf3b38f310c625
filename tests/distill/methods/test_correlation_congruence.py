import math

import numpy as np
import pytest
import torch

from distill.methods.correlation_congruence import CorrelationCongruenceConfig, consecutive_loss, gram_loss
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples

ORDER = torch.tensor([3, 1, 5, 0, 2, 4])


def points(seed: int) -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_consecutive_form_equals_the_slow_numpy_twin_and_hangs_on_the_order() -> None:
    student, teacher = points(0), points(1)
    away = np.abs(student.numpy() - teacher.numpy())
    expected = np.mean([sum(away[i][k] * away[i + 1][k] for k in range(4)) for i in range(5)])
    found = consecutive_loss(student, teacher).item()
    assert found == pytest.approx(expected, abs=1e-10)
    assert consecutive_loss(student[ORDER], teacher[ORDER]).item() != pytest.approx(found, rel=1e-3)


def test_the_gram_form_equals_the_slow_numpy_twin_and_does_not_hang_on_the_order() -> None:
    student, teacher = points(2), points(3)
    kernels = []
    for values in (student.numpy(), teacher.numpy()):
        unit = [row / np.sqrt((row**2).sum()) for row in values]
        polynomial = [
            [sum((0.8 * (a @ b)) ** power / math.factorial(power) for power in range(3)) for a in unit] for b in unit
        ]
        kernels.append(np.exp(-0.8) * np.array(polynomial))
    expected = ((kernels[0] - kernels[1]) ** 2).sum() / 36
    found = gram_loss(student, teacher, gamma=0.4, order=2).item()
    assert found == pytest.approx(expected, abs=1e-10)
    assert gram_loss(student[ORDER], teacher[ORDER], gamma=0.4, order=2).item() == pytest.approx(found, abs=1e-12)


def test_the_polynomial_is_the_gaussian_kernel_in_the_limit() -> None:
    student, teacher = points(4), points(5)
    kernels = [
        torch.exp(-0.4 * torch.cdist(v / v.norm(dim=1)[:, None], v / v.norm(dim=1)[:, None]) ** 2)
        for v in (student, teacher)
    ]
    exact = (kernels[0] - kernels[1]).square().mean().item()
    assert gram_loss(student, teacher, gamma=0.4, order=12).item() == pytest.approx(exact, abs=1e-9)


def test_embeddings_alike_have_nothing_to_learn() -> None:
    same = points(6)
    assert consecutive_loss(same, same).item() == 0
    assert gram_loss(same, same, gamma=0.4, order=2).item() == 0


@pytest.mark.parametrize("form", ["consecutive", "gram"])
def test_both_embeddings_are_trained_and_the_loss_is_weighed(form: str) -> None:
    images, labels = torch.rand(6, 1, SIZE_PX, SIZE_PX), torch.arange(6) % 3
    found = []
    for weight in (1.0, 4.0):
        torch.manual_seed(0)
        student, teacher = network(3), network(3, width=8)
        config = CorrelationCongruenceConfig(weight=weight, form=form)  # type: ignore[arg-type]
        run = dry(config, [student], teacher, labels)
        assert run.students[0].places == ("head:input",)
        found.append(losses_of(run, [student], teacher, images, samples(labels))["correlation"])
        found[-1].backward()
        assert all(parameter.grad is not None for parameter in run.method.parameters())
    assert found[1].item() == pytest.approx(4 * found[0].item(), rel=1e-5)
