import numpy as np
import pytest
import torch

from distill.methods.relational_kd import RelationalKDConfig, relational_losses
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples


def points(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_equals_the_slow_numpy_twin() -> None:
    student, teacher = 3 * points(5, 4, seed=0), points(5, 6, seed=1)
    distances, angles = [], []
    for values in (student.numpy(), teacher.numpy()):
        lengths = np.array([[np.sqrt(((a - b) ** 2).sum()) for a in values] for b in values])
        distances.append(lengths / lengths[lengths > 0].mean())
        cosines = np.zeros((5, 5, 5))
        for i, j, k in np.ndindex(5, 5, 5):
            if i not in (j, k):
                one, two = values[j] - values[i], values[k] - values[i]
                cosines[i, j, k] = one @ two / np.sqrt((one @ one) * (two @ two))
        angles.append(cosines)
    expected = [
        np.mean([smooth(a - b) for a, b in zip(left.ravel(), right.ravel(), strict=True)])
        for left, right in (distances, angles)
    ]
    found = [loss.item() for loss in relational_losses(student, teacher)]
    assert found == pytest.approx(expected, abs=1e-10)


def test_only_the_shape_of_the_cloud_counts() -> None:
    student, teacher, order = points(6, 3, 2, seed=2), points(6, 5, seed=3), torch.tensor([3, 1, 5, 0, 2, 4])
    expected = [loss.item() for loss in relational_losses(student, teacher)]
    turned = 7 * student.flatten(1) @ torch.linalg.qr(points(6, 6, seed=4))[0] + 2
    for other in (relational_losses(student[order], teacher[order]), relational_losses(turned, teacher)):
        assert [loss.item() for loss in other] == pytest.approx(expected, abs=1e-10)
    assert [loss.item() for loss in relational_losses(turned, student)] == pytest.approx([0, 0], abs=1e-12)


def test_equal_images_have_no_gradient_that_could_do_harm() -> None:
    student = points(6, 4, seed=5).float()
    student[1] = student[0]
    student.requires_grad_()
    sum(relational_losses(student, points(6, 4, seed=6).float())).backward()  # type: ignore[union-attr]
    assert student.grad is not None
    assert student.grad.abs().max() < 10


def test_the_method_weighs_distances_and_angles_of_the_pooled_features() -> None:
    torch.manual_seed(0)
    student, teacher, labels = network(3), network(3, width=8), torch.arange(6) % 3
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(RelationalKDConfig(weight=2.0), [student], teacher, labels)
    found = losses_of(run, [student], teacher, images, samples(labels))
    pooled = [model.network.stages((images - model.mean) * model.inverse_std) for model in (student, teacher)]  # type: ignore[operator, union-attr]
    distance, angle = (loss.item() for loss in relational_losses(*pooled))
    assert found["distance"].item() == pytest.approx(2 * 25 * distance, rel=1e-4)
    assert found["angle"].item() == pytest.approx(2 * 50 * angle, rel=1e-4)
