import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.attention_transfer import AttentionTransferConfig, attention, attention_loss
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_equals_the_slow_numpy_twin(power: float) -> None:
    """Signed maps, not square, the student's twice as high and the teacher's twice as wide."""
    student, teacher = maps(5, 3, 4, 3, seed=0), maps(5, 7, 2, 6, seed=1)
    pooled = student.numpy().reshape(5, 3, 2, 2, 3).mean(axis=3), teacher.numpy().reshape(5, 7, 2, 3, 2).mean(axis=4)
    expected = 0.0
    for ours, theirs in zip(*pooled, strict=True):
        looks = [sum(abs(channel) ** power for channel in image) / len(image) for image in (ours, theirs)]
        first, second = (look / np.sqrt((look**2).sum()) for look in looks)
        expected += ((first - second) ** 2).sum() / (5 * 6)
    assert attention_loss(student, teacher, power=power).item() == pytest.approx(expected, abs=1e-10)


def test_how_strong_the_activations_are_and_in_which_channel_does_not_matter() -> None:
    student, teacher = maps(5, 4, 3, 3, seed=2), maps(5, 6, 3, 3, seed=3)
    expected = attention_loss(student, teacher, power=2).item()
    assert attention_loss(-7 * student.flip(1), teacher, power=2).item() == pytest.approx(expected, abs=1e-12)
    assert attention_loss(student, student, power=2).item() == 0


def test_a_map_without_any_activation_has_no_gradient() -> None:
    for power in (1.0, 2.0):
        student = torch.zeros(2, 4, 3, 3, requires_grad=True)
        attention_loss(student, maps(2, 4, 3, 3, seed=4).float(), power=power).backward()
        assert student.grad is not None
        assert not student.grad.any()
        assert not attention(student, power).any()


def test_the_method_sums_over_all_stages_and_weighs_beside_the_labels() -> None:
    torch.manual_seed(0)
    student, teacher, images = network(3), network(3, width=8), torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(AttentionTransferConfig(weight=50.0), [student], teacher, LABELS)
    found = losses_of(run, [student], teacher, images, samples(LABELS))
    expected = sum(
        attention_loss(features(student, images, stage), features(teacher, images, stage), power=2).item()
        for stage in range(3)
    )
    assert found["attention"].item() == pytest.approx(50 * expected, rel=1e-5)
    assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student(images), LABELS).item())


def test_what_is_no_map_is_refused() -> None:
    config = AttentionTransferConfig(taps=TapPairs(student=("head",), teacher=("head",)))
    with pytest.raises(UsageError, match=r"compares maps \[C, H, W\] .* gives \(3,\) and \(3,\)"):
        dry(config, [network(3)], network(3), LABELS)
