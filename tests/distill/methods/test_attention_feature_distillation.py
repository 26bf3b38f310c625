import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.attention_feature_distillation import (
    AttentionFeatureDistillation,
    AttentionFeatureDistillationConfig,
    attended_loss,
)
from distill.methods.hinton_kd import soft_target_loss
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    """Sizes of the teacher come back after another, which led the authors' code astray."""
    student = [maps(3, 2, 4, 4, seed=0), maps(3, 5, 2, 2, seed=1)]
    teacher = [maps(3, 3, 2, 2, seed=2), maps(3, 4, 1, 2, seed=3), maps(3, 6, 2, 2, seed=4)]
    attention = maps(3, 3, 2, seed=5).softmax(2)
    expected = 0.0
    for image in range(3):
        for t, theirs in enumerate(teacher):
            wanted = (theirs[image].numpy() ** 2).mean(axis=0)
            height, width = wanted.shape
            wanted = wanted.ravel() / np.sqrt((wanted**2).sum())
            for s, ours in enumerate(student):
                picture = (ours[image].numpy() ** 2).mean(axis=0)
                size = len(picture)
                tiles = picture.reshape(height, size // height, width, size // width)
                small = tiles.mean(axis=(1, 3)).ravel()
                small = small / np.sqrt((small**2).sum())
                expected += attention[image, t, s].item() * np.mean((small - wanted) ** 2) / 3
    assert attended_loss(student, teacher, attention).item() == pytest.approx(expected, abs=1e-10)


def test_alike_is_nothing_to_learn_for_what_attends_to_it() -> None:
    both = [maps(3, 2, 4, 4, seed=6), maps(3, 5, 2, 2, seed=7)]
    assert attended_loss(both, both, torch.eye(2).double().expand(3, 2, 2)).item() == pytest.approx(0, abs=1e-12)


def test_all_blocks_are_candidates_and_every_map_of_the_teacher_is_attended_to() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    run = dry(AttentionFeatureDistillationConfig(weight=3.0, dimensions=7), [student], teacher, LABELS)
    method = run.method
    assert isinstance(method, AttentionFeatureDistillation)
    assert method.ours == ("stages.0", "stages.1", "stages.2")
    ours, theirs = ([features(model, IMAGES, stage) for stage in range(3)] for model in (student, teacher))
    attention = method.attention(ours, theirs)
    assert attention.shape == (6, 3, 3)
    assert torch.allclose(attention.sum(2), torch.ones(6, 3))
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    assert found["feature"].item() == pytest.approx(3 * attended_loss(ours, theirs, attention).item(), rel=1e-3)
    soft = soft_target_loss(student(IMAGES), teacher(IMAGES), temperature=4.0).item()
    assert found["soft"].item() == pytest.approx(0.9 * soft, rel=1e-4)


def test_the_attention_is_the_papers() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    method = dry(AttentionFeatureDistillationConfig(dimensions=5), [student], teacher, LABELS).method.eval()
    assert isinstance(method, AttentionFeatureDistillation)
    ours, theirs = ([features(model, IMAGES, stage) for stage in range(3)] for model in (student, teacher))
    for image, t in ((0, 1), (5, 2)):
        query = method.queries[t](theirs[t].mean((2, 3)))[image]
        logits = []
        for s in range(3):
            key = method.bilinear(method.keys[s](ours[s].mean((2, 3))))[image].view(3, 5)[t]
            logits.append((key @ query + method.teacher_positions[t] @ method.student_positions[s]) / 5**0.5)
        expected = torch.stack(logits).softmax(0)
        assert torch.allclose(method.attention(ours, theirs)[image, t], expected, atol=1e-6)


def test_candidates_may_be_fewer_and_need_not_be_equally_many() -> None:
    method = dry(AttentionFeatureDistillationConfig(every=2), [network(3)], network(3), LABELS).method
    assert method.ours == ("stages.0", "stages.2")
    taps = TapPairs(student="blocks", teacher=("stage-end:-1",))
    method = dry(AttentionFeatureDistillationConfig(taps=taps), [network(3)], network(3), LABELS).method
    assert (len(method.ours), method.theirs) == (3, ("stages.2",))
    with pytest.raises(UsageError, match=r"compares maps \[C, H, W\]"):
        dry(AttentionFeatureDistillationConfig(taps=TapPairs(student=("head",))), [network(3)], network(3), LABELS)
