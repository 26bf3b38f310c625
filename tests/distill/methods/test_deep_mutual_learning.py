from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.methods import Outputs
from distill.methods.deep_mutual_learning import DeepMutualLearningConfig, mutual_loss
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]


def test_equals_the_slow_numpy_twin(
    logits: Draw, softmax: Callable[..., np.ndarray], divergence: Callable[..., float]
) -> None:
    members = [logits(5, 4, seed=seed) for seed in range(3)]
    expected = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                rows = zip(members[i].numpy(), members[j].numpy(), strict=True)
                expected += np.mean([divergence(softmax(b), softmax(a)) for a, b in rows]) / 2
    assert mutual_loss(members).item() == pytest.approx(expected, abs=1e-10)


def test_renaming_the_members_changes_nothing(logits: Draw) -> None:
    a, b, c = (logits(5, 4, seed=seed) for seed in range(3))
    assert mutual_loss([a, b, c]).item() == pytest.approx(mutual_loss([c, a, b]).item(), abs=1e-12)


def test_a_renamed_member_learns_the_same(logits: Draw) -> None:
    def gradients(order: tuple[int, ...]) -> dict[int, torch.Tensor]:
        members = {seed: logits(5, 4, seed=seed).requires_grad_() for seed in range(3)}
        labels = torch.arange(5) % 4
        cohort = tuple(Outputs(members[i]) for i in order)
        losses = built(DeepMutualLearningConfig(cohort=3))(cohort, None, samples(labels))
        torch.stack(list(losses.values())).sum().backward()
        return {seed: member.grad for seed, member in members.items() if member.grad is not None}

    one, other = gradients((0, 1, 2)), gradients((2, 0, 1))
    assert all(torch.allclose(one[seed], other[seed], atol=1e-10) for seed in range(3))


def test_members_that_agree_have_nothing_to_teach(logits: Draw) -> None:
    same = logits(5, 4, seed=0)
    assert mutual_loss([same, same + 1, same - 2]).item() == pytest.approx(0, abs=1e-12)


def test_a_peer_is_a_target_and_gets_no_gradient_for_it(logits: Draw) -> None:
    """With two members, what member 1 gets is the gradient of KL(p_2 || p_1) alone."""
    first, second = logits(5, 4, seed=1).requires_grad_(), logits(5, 4, seed=2).requires_grad_()
    mutual_loss([first, second]).backward()
    expected = (first.softmax(1) - second.softmax(1)) / 5
    assert first.grad is not None
    assert torch.allclose(first.grad, expected, atol=1e-12)


def test_every_member_learns_from_the_labels(logits: Draw) -> None:
    members, labels = [logits(6, 3, seed=seed) for seed in range(3)], torch.arange(6) % 3
    assert DeepMutualLearningConfig(cohort=3).needs.students == 3
    method = built(DeepMutualLearningConfig(cohort=3))
    losses = method(tuple(Outputs(member) for member in members), None, samples(labels))
    expected = sum(torch.nn.functional.cross_entropy(member, labels).item() for member in members)
    assert losses["label"].item() == pytest.approx(expected, abs=1e-10)
