"""spherical_kd, weighted_soft_labels, decoupled_kd, cross_quality_kd: twins and identities."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods import Outputs
from distill.methods.cross_quality_kd import CrossQualityKDConfig
from distill.methods.decoupled_kd import DecoupledKDConfig, decoupled_losses
from distill.methods.hinton_kd import HintonKDConfig, soft_target_loss
from distill.methods.spherical_kd import SphericalKDConfig, on_the_sphere
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig, weighted_soft_label_loss
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]
Softmax = Callable[..., np.ndarray]
Divergence = Callable[[np.ndarray, np.ndarray], float]
LABELS = torch.arange(7) % 4


def test_decoupled_parts_equal_the_slow_numpy_twin(logits: Draw, softmax: Softmax, divergence: Divergence) -> None:
    student, teacher = logits(7, 4, seed=0), logits(7, 4, seed=1)
    target, other = 0.0, 0.0
    for s, t, y in zip(student.numpy(), teacher.numpy(), LABELS.tolist(), strict=True):
        p_s, p_t = softmax(s, 2), softmax(t, 2)
        target += 4 * divergence(np.array([p_t[y], 1 - p_t[y]]), np.array([p_s[y], 1 - p_s[y]])) / 7
        rest_s, rest_t = np.delete(p_s, y), np.delete(p_t, y)
        other += 4 * divergence(rest_t / rest_t.sum(), rest_s / rest_s.sum()) / 7
    found = decoupled_losses(student, teacher, LABELS, temperature=2.0)
    assert found[0].item() == pytest.approx(target, abs=1e-10)
    assert found[1].item() == pytest.approx(other, abs=1e-10)


def test_decoupled_parts_add_up_to_plain_distillation(logits: Draw) -> None:
    """KL = TCKD + (1 - p_t(label)) * NCKD for every image."""
    for seed in range(5):
        student, teacher, label = logits(1, 6, seed=seed), logits(1, 6, seed=seed + 50), torch.tensor([seed % 6])
        target, other = decoupled_losses(student, teacher, label, temperature=1.0)
        share = 1 - teacher.softmax(1)[0, label]
        whole = soft_target_loss(student, teacher, temperature=1.0)
        assert (target + share * other).item() == pytest.approx(whole.item(), abs=1e-10)


def test_decoupled_parts_stay_finite_for_a_very_sure_student() -> None:
    sure = torch.tensor([[200.0, 0.0, -50.0]], requires_grad=True)
    target, other = decoupled_losses(sure, torch.zeros(1, 3), torch.tensor([0]), temperature=1.0)
    (target + other).backward()
    assert torch.isfinite(target + other)
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


def test_the_methods_weights_multiply_the_decoupled_parts(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=0), logits(7, 4, seed=1)
    found = built(DecoupledKDConfig(target_weight=0.5, other_weight=3.0, temperature=2.0))(
        (Outputs(student),), Outputs(teacher), samples(LABELS)
    )
    target, other = decoupled_losses(student, teacher, LABELS, temperature=2.0)
    label = torch.nn.functional.cross_entropy(student, LABELS)
    assert [found[name].item() for name in ("target", "other", "label")] == pytest.approx(
        [0.5 * target.item(), 3.0 * other.item(), label.item()], abs=1e-10
    )


def test_decoupled_warm_up_grows_linearly(logits: Draw) -> None:
    method = built(DecoupledKDConfig(warmup_epochs=4))
    arguments = (Outputs(logits(7, 4, seed=0)),), Outputs(logits(7, 4, seed=1)), samples(LABELS)
    values = []
    for epoch in (1, 2, 4, 9):
        method.start_epoch(epoch)
        values.append(method(*arguments)["other"].item())
    assert [value / values[-1] for value in values] == pytest.approx([0.25, 0.5, 1, 1])


def test_weighted_soft_labels_equal_the_slow_numpy_twin(logits: Draw, softmax: Softmax) -> None:
    student, teacher = logits(7, 4, seed=2), logits(7, 4, seed=3)
    expected = 0.0
    for s, t, y in zip(student.numpy(), teacher.numpy(), LABELS.tolist(), strict=True):
        weight = 1 - np.exp(np.log(softmax(s)[y]) / (-np.log(softmax(t)[y]) + 1e-7))
        expected += weight * 9 * -(softmax(t, 3) * np.log(softmax(s, 3))).sum() / 7
    found = weighted_soft_label_loss(student, teacher, LABELS, temperature=3.0)
    assert found.item() == pytest.approx(expected, abs=1e-10)


def test_an_image_the_student_already_knows_needs_no_soft_label(logits: Draw) -> None:
    student = 1000 * torch.nn.functional.one_hot(LABELS, 4).double()
    assert weighted_soft_label_loss(student, logits(7, 4, seed=4), LABELS, temperature=4.0).item() == 0


def test_a_student_like_its_teacher_still_pays_the_entropy_of_the_soft_labels(logits: Draw, softmax: Softmax) -> None:
    """w is 1 - exp(-1) but for the 1e-7, and a cross-entropy is the divergence (zero) plus the teacher's entropy."""
    same, expected = logits(7, 4, seed=15), 0.0
    for row, label in zip(same.numpy(), LABELS.tolist(), strict=True):
        p, loss = softmax(row, 3), -np.log(softmax(row)[label])
        expected += 9 * (1 - np.exp(-loss / (loss + 1e-7))) * -(p * np.log(p)).sum() / 7
    found = weighted_soft_label_loss(same + 1, same, LABELS, temperature=3.0)
    assert found.item() == pytest.approx(expected, abs=1e-10)


def test_the_weights_carry_no_gradient(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=16).requires_grad_(), logits(7, 4, seed=17)
    weighted_soft_label_loss(student, teacher, LABELS, temperature=3.0).backward()
    with torch.no_grad():
        label_loss = torch.nn.functional.cross_entropy(student, LABELS, reduction="none")
        teachers = torch.nn.functional.cross_entropy(teacher, LABELS, reduction="none") + 1e-7
        weights = 1 - torch.exp(-label_loss / teachers)
        expected = 3 * weights[:, None] * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / 7
    assert student.grad is not None
    assert torch.allclose(student.grad, expected, atol=1e-10)


def test_labels_have_weight_one_beside_weighted_soft_labels(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=5), logits(7, 4, seed=6)
    losses = built(WeightedSoftLabelsConfig(alpha=2.0))((Outputs(student),), Outputs(teacher), samples(LABELS))
    assert losses["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student, LABELS).item())
    single = weighted_soft_label_loss(student, teacher, LABELS, temperature=4.0)
    assert losses["soft"].item() == pytest.approx(2 * single.item())


@pytest.mark.parametrize("centred", [False, True])
def test_spherical_losses_equal_the_slow_numpy_twin(
    logits: Draw, softmax: Softmax, divergence: Divergence, centred: bool
) -> None:
    student, teacher = logits(7, 4, seed=7), logits(7, 4, seed=8)

    def placed(row: np.ndarray) -> np.ndarray:
        return row - row.mean() if centred else row

    radius = np.mean([np.linalg.norm(placed(row)) for row in teacher.numpy()])

    def scaled(row: np.ndarray) -> np.ndarray:
        return placed(row) * radius / np.sqrt((placed(row) ** 2).sum() + (radius / 10) ** 2)

    soft, label = 0.0, 0.0
    for s, t, y in zip(student.numpy(), teacher.numpy(), LABELS.tolist(), strict=True):
        soft += 9 * divergence(softmax(scaled(t), 3), softmax(scaled(s), 3)) / 7
        label += -np.log(softmax(scaled(s))[y]) / 7
    method = built(SphericalKDConfig(temperature=3.0, alpha=0.8, centred=centred))
    found = method((Outputs(student),), Outputs(teacher), samples(LABELS))
    assert found["soft"].item() == pytest.approx(0.8 * soft, abs=1e-10)
    assert found["label"].item() == pytest.approx(0.2 * label, abs=1e-10)


def test_on_the_sphere_all_logits_but_tiny_ones_have_the_teachers_mean_length(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=7), logits(7, 4, seed=8)
    radius = teacher.norm(dim=1).mean().item()
    scaled, of_teacher = on_the_sphere(1e6 * student, teacher)
    assert scaled.norm(dim=1).tolist() == pytest.approx([radius] * 7)
    assert of_teacher.norm(dim=1).tolist() == pytest.approx([radius] * 7, rel=0.05)
    same_length = teacher / teacher.norm(dim=1, keepdim=True)
    assert on_the_sphere(same_length, same_length)[0].norm(dim=1).tolist() == pytest.approx([1 / np.sqrt(1.01)] * 7)


def test_spherical_distillation_ignores_how_confident_the_student_is(logits: Draw) -> None:
    student, teacher = logits(7, 4, seed=9), logits(7, 4, seed=10)
    method = built(SphericalKDConfig())
    once = method((Outputs(1e6 * student),), Outputs(teacher), samples(LABELS))
    louder = method((Outputs(5e6 * student),), Outputs(teacher), samples(LABELS))
    for name in once:
        assert louder[name].item() == pytest.approx(once[name].item(), abs=1e-10)


def test_spherical_gradients_of_a_head_of_zeros_are_no_more_than_ten_times_those_of_the_sphere(logits: Draw) -> None:
    student, teacher = torch.zeros(7, 4, dtype=torch.float64, requires_grad=True), logits(7, 4, seed=11)
    losses = built(SphericalKDConfig())((Outputs(student),), Outputs(teacher), samples(LABELS))
    torch.stack(list(losses.values())).sum().backward()
    assert student.grad is not None
    assert 0 < student.grad.abs().max() < 10
    scaled, _ = on_the_sphere(student, teacher)
    assert torch.autograd.grad(scaled[0, 0], student)[0].max().item() == pytest.approx(10)


def test_two_classes_have_a_direction_unless_they_are_centred(logits: Draw) -> None:
    student, teacher = logits(7, 2, seed=12).requires_grad_(), logits(7, 2, seed=13)
    losses = built(SphericalKDConfig(), 2)((Outputs(student),), Outputs(teacher), samples(LABELS % 2))
    torch.stack(list(losses.values())).sum().backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 1e-3
    with pytest.raises(UsageError, match="needs three classes or more, there are 2"):
        built(SphericalKDConfig(centred=True), 2)


def test_cross_quality_distillation_is_equation_2_with_tau_squared(logits: Draw) -> None:
    arguments = (Outputs(logits(7, 4, seed=11)),), Outputs(logits(7, 4, seed=12)), samples(LABELS)
    found = built(CrossQualityKDConfig(temperature=20.0, alpha=0.5))(*arguments)
    expected = built(HintonKDConfig(temperature=20.0, alpha=0.5))(*arguments)
    assert {name: loss.item() for name, loss in found.items()} == {name: loss.item() for name, loss in expected.items()}


@pytest.mark.parametrize(
    "config", [HintonKDConfig(alpha=1.0), SphericalKDConfig(alpha=1.0, centred=True), CrossQualityKDConfig()]
)
def test_soft_terms_vanish_where_the_student_says_what_the_teacher_says(config: HintonKDConfig, logits: Draw) -> None:
    same = logits(7, 4, seed=13)
    losses = built(config)((Outputs(same + 2),), Outputs(same), samples(LABELS))
    assert losses["soft"].item() == pytest.approx(0, abs=1e-10)


def test_decoupled_parts_vanish_where_the_student_says_what_the_teacher_says(logits: Draw) -> None:
    same = logits(7, 4, seed=14)
    for part in decoupled_losses(same - 1, same, LABELS, temperature=4.0):
        assert part.item() == pytest.approx(0, abs=1e-10)
