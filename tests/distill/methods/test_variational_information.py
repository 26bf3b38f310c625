import numpy as np
import pytest
import torch

from distill.methods.variational_information import (
    Gaussian,
    VariationalInformation,
    VariationalInformationConfig,
    information_loss,
)
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    mean, teacher, variance = maps(5, 4, 3, 2, seed=0), maps(5, 4, 3, 2, seed=1), maps(4, seed=2).exp()
    terms = [
        0.5 * ((mean[b, c, i, j] - teacher[b, c, i, j]).item() ** 2 / v + np.log(v))
        for b in range(5)
        for c, v in enumerate(variance.tolist())
        for i in range(3)
        for j in range(2)
    ]
    assert information_loss(mean, teacher, variance).item() == pytest.approx(np.mean(terms), abs=1e-10)


def test_a_mean_like_the_teacher_leaves_the_entropy_of_the_variance() -> None:
    same = maps(5, 4, 3, 3, seed=3)
    assert information_loss(same, same, torch.full((4,), 5.0)).item() == pytest.approx(0.5 * np.log(5))


def test_variances_begin_with_five_and_are_trained_and_saved() -> None:
    gaussian = Gaussian(3, 4, variance=5.0)
    assert gaussian.variance().tolist() == pytest.approx([5.0] * 4)
    assert "rho" in gaussian.state_dict()
    gaussian(torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)).backward()
    assert gaussian.rho.grad is not None
    assert gaussian.rho.grad.abs().min() > 0


def test_the_larger_map_is_averaged_down_to_the_smaller() -> None:
    torch.manual_seed(0)
    gaussian, student, teacher = Gaussian(3, 4, variance=1.0), torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)
    pooled = student.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    assert gaussian(student, teacher).item() == pytest.approx(gaussian(pooled, teacher).item(), rel=1e-5)


def test_the_method_sums_over_all_stages_and_weighs_beside_the_labels() -> None:
    torch.manual_seed(0)
    student, teacher, images = network(3), network(3, width=8), torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(VariationalInformationConfig(weight=3.0), [student], teacher, LABELS)
    assert isinstance(run.method, VariationalInformation)
    found = losses_of(run, [student], teacher, images, samples(LABELS))
    expected = sum(
        gaussian(features(student, images, stage), features(teacher, images, stage)).item()
        for stage, gaussian in enumerate(run.method.gaussians)
    )
    assert found["information"].item() == pytest.approx(3 * expected, rel=1e-4)
    assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student(images), LABELS).item())
