import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.factor_transfer import FactorTransfer, FactorTransferConfig, Paraphraser, factor_loss, translator
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("power", [2.0, 1.0, None])
def test_equals_the_slow_numpy_twin(power: float | None) -> None:
    """The student's factor is twice as high."""
    student, teacher = maps(5, 3, 4, 3, seed=0), maps(5, 3, 2, 3, seed=1)
    pooled = student.numpy().reshape(5, 3, 2, 2, 3).mean(axis=3)
    terms = []
    for ours, theirs in zip(pooled, teacher.numpy(), strict=True):
        one, two = (
            image.ravel() if power is None else (np.abs(image) ** power).mean(axis=0).ravel()
            for image in (ours, theirs)
        )
        terms += list(np.abs(one / np.sqrt((one**2).sum()) - two / np.sqrt((two**2).sum())))
    assert factor_loss(student, teacher, power=power).item() == pytest.approx(np.mean(terms), abs=1e-10)


def test_the_strength_of_a_factor_does_not_matter_and_alike_is_nothing_to_learn() -> None:
    student, teacher = maps(5, 3, 3, 3, seed=2), maps(5, 3, 3, 3, seed=3)
    for power in (2.0, None):
        expected = factor_loss(student, teacher, power=power).item()
        assert factor_loss(7 * student, teacher, power=power).item() == pytest.approx(expected, abs=1e-12)
        assert factor_loss(teacher, teacher, power=power).item() == 0


def test_a_paraphraser_restores_the_shape_through_fewer_channels() -> None:
    module = Paraphraser(8, 4)
    values = torch.randn(2, 8, 3, 5)
    assert module.factor(values).shape == (2, 4, 3, 5)
    assert module(values).shape == values.shape
    assert translator(6, 4)(torch.randn(2, 6, 3, 5)).shape == (2, 4, 3, 5)


def test_the_paraphraser_learns_first_and_alone_and_is_fixed_then() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    run = dry(FactorTransferConfig(weight=9.0), [student], teacher, LABELS)
    method = run.method
    assert isinstance(method, FactorTransfer)
    first, second = method.stages()
    assert (first.epochs, first.judged, first.lr_factor) == (30, False, 0.2)
    names = [f"method.{name}" for name, _ in method.named_parameters()] + ["students.0.network.head.bias"]
    assert {name for name in names if first.trains(name)} == {name for name in names if "paraphrasers" in name}
    assert {name for name in names if second.trains(name)} == {name for name in names if "paraphrasers" not in name}
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    deepest = features(student, IMAGES, 2), features(teacher, IMAGES, 2)
    assert found["restored"].item() == pytest.approx(
        (method.paraphrasers[0](deepest[1]) - deepest[1]).square().mean().item(), rel=1e-4
    )
    expected = factor_loss(method.translators[0](deepest[0]), method.paraphrasers[0].factor(deepest[1]), power=2.0)  # type: ignore[operator, union-attr]
    assert found["factor"].item() == pytest.approx(9 * expected.item(), rel=1e-3)
    found["factor"].backward()
    assert all(parameter.grad is None for parameter in method.paraphrasers.parameters())


def test_what_is_no_map_is_refused() -> None:
    config = FactorTransferConfig(taps=TapPairs(student=("pooled",), teacher=("pooled",)))
    with pytest.raises(UsageError, match=r"factor_transfer compares maps \[C, H, W\]; method.taps gives \(64,\)"):
        dry(config, [network(3)], network(3), LABELS)
