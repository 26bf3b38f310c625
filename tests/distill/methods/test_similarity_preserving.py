import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.similarity_preserving import SimilarityPreservingConfig, similarities, similarity_loss
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    student, teacher = maps(6, 4, 3, 2, seed=0), maps(6, 5, 2, 2, seed=1)
    grams = []
    for values in (student.numpy(), teacher.numpy()):
        gram = np.array([[(values[i] * values[j]).sum() for j in range(6)] for i in range(6)])
        grams.append([row / np.sqrt((row**2).sum()) for row in gram])
    expected = sum((grams[1][i][j] - grams[0][i][j]) ** 2 for i in range(6) for j in range(6)) / 36
    assert similarity_loss(student, teacher).item() == pytest.approx(expected, abs=1e-10)


def test_the_order_of_the_images_and_the_scale_of_a_network_do_not_matter() -> None:
    student, teacher, order = maps(6, 4, 3, 3, seed=2), maps(6, 5, seed=3), torch.tensor([3, 1, 5, 0, 2, 4])
    expected = similarity_loss(student, teacher).item()
    assert similarity_loss(student[order], teacher[order]).item() == pytest.approx(expected, abs=1e-12)
    assert similarity_loss(7 * student, 0.1 * teacher).item() == pytest.approx(expected, abs=1e-12)


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    same = maps(6, 4, 3, 3, seed=4)
    assert similarity_loss(same, same).item() == 0


def test_an_image_that_activates_nothing_has_no_gradient_and_does_not_spoil_the_others() -> None:
    student = maps(6, 12, seed=5).relu()
    student[2] = 0
    student.requires_grad_()
    similarity_loss(student, maps(6, 12, seed=6)).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 1
    assert not similarities(student)[2].any()


def test_half_precision_activations_are_compared_in_float32() -> None:
    student, teacher = maps(6, 40, seed=7).bfloat16(), maps(6, 40, seed=8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity_loss(student, teacher)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(similarity_loss(student.double(), teacher.double()).item(), rel=1e-5)


def test_the_method_weighs_what_it_reads_at_the_deepest_stage() -> None:
    torch.manual_seed(0)
    student, teacher, labels = network(3), network(3, width=8), torch.arange(6) % 3
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX)
    run = dry(SimilarityPreservingConfig(weight=10.0), [student], teacher, labels)
    assert run.students[0].places == ("stages.2",)
    found = losses_of(run, [student], teacher, images, samples(labels))
    expected = similarity_loss(features(student, images, 2), features(teacher, images, 2))
    assert found["similarity"].item() == pytest.approx(10 * expected.item(), rel=1e-5)
    assert found["label"].item() == pytest.approx(torch.nn.functional.cross_entropy(student(images), labels).item())


def test_places_are_compared_one_with_one() -> None:
    config = SimilarityPreservingConfig(taps=TapPairs(student=("stages.0", "stages.1"), teacher=("stages.2",)))
    with pytest.raises(UsageError, match=r"names 2 place\(s\) of the student .* and 1 of the teacher"):
        dry(config, [network(3)], network(3), torch.arange(3))
