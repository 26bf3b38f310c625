import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distill.methods.neuron_selectivity import NeuronSelectivityConfig, selectivity_loss
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    """The student's map is twice as high."""
    student, teacher = maps(3, 2, 4, 3, seed=0), maps(3, 4, 2, 3, seed=1)
    pooled = student.numpy().reshape(3, 2, 2, 2, 3).mean(axis=3)
    expected = 0.0
    for ours, theirs in zip(pooled, teacher.numpy(), strict=True):
        one, two = ([c.ravel() / np.sqrt((c**2).sum()) for c in image] for image in (ours, theirs))
        for left, right, sign in ((one, one, 1), (two, two, 1), (one, two, -2)):
            expected += sign * np.mean([(u @ v) ** 2 for u in left for v in right]) / 3
    assert selectivity_loss(student, teacher).item() == pytest.approx(expected, abs=1e-10)


def test_the_matrix_product_equals_the_products_of_every_pair() -> None:
    student, teacher = maps(3, 4, 3, 3, seed=2), maps(3, 5, 3, 3, seed=3)
    ours, theirs = (F.normalize(values.flatten(2), dim=2) for values in (student, teacher))

    def broadcast(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left[:, :, None] * right[:, None]).sum(-1).square().mean()

    expected = broadcast(theirs, theirs) + broadcast(ours, ours) - 2 * broadcast(ours, theirs)
    assert selectivity_loss(student, teacher).item() == pytest.approx(expected.item(), abs=1e-12)


def test_channels_have_no_order_and_alike_is_nothing_to_learn() -> None:
    student, teacher = maps(3, 4, 3, 3, seed=4), maps(3, 5, 3, 3, seed=5)
    expected = selectivity_loss(student, teacher).item()
    assert selectivity_loss(5 * student.flip(1), teacher).item() == pytest.approx(expected, abs=1e-12)
    assert selectivity_loss(student, student.flip(1)).item() == pytest.approx(0, abs=1e-12)


def test_a_channel_that_sees_nothing_has_no_gradient() -> None:
    student = maps(3, 4, 3, 3, seed=6)
    student[:, 1] = 0
    student.requires_grad_()
    selectivity_loss(student, maps(3, 5, 3, 3, seed=7)).backward()
    assert student.grad is not None
    assert not student.grad[:, 1].any()


def test_the_method_sums_over_all_stages() -> None:
    torch.manual_seed(0)
    student, teacher, images = network(3), network(3, width=8), torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(NeuronSelectivityConfig(weight=5.0), [student], teacher, LABELS)
    found = losses_of(run, [student], teacher, images, samples(LABELS))
    expected = sum(
        selectivity_loss(features(student, images, stage), features(teacher, images, stage)).item()
        for stage in range(3)
    )
    assert found["selectivity"].item() == pytest.approx(5 * expected, rel=1e-4)
