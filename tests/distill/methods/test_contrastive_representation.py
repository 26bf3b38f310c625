import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.contrastive_representation import (
    ContrastiveRepresentation,
    ContrastiveRepresentationConfig,
    Negatives,
    contrastive_loss,
    scores,
)
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def values(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_slow_numpy_twin() -> None:
    embeddings, bank = values(4, 3, seed=0), values(10, 3, seed=1)
    rows = torch.tensor([[0, 3, 4], [1, 9, 9], [2, 5, 6], [3, 0, 7]])
    expected = 0.0
    for embedding, row in zip(embeddings.numpy(), rows.tolist(), strict=True):
        probabilities = [np.exp(embedding @ bank.numpy()[index] / 0.07) / 50 for index in row]
        share = 2 / 10
        expected -= np.log(probabilities[0] / (probabilities[0] + share + 1e-7))
        expected -= sum(np.log(share / (p + share + 1e-7)) for p in probabilities[1:])
    found = contrastive_loss(scores(embeddings, bank, rows, temperature=0.07) / 50, images=10)
    assert found.item() == pytest.approx(expected / 4, rel=1e-10)


def test_negatives_are_of_other_classes_distinct_and_all_as_likely() -> None:
    labels = torch.tensor([0] * 7 + [1] * 20 + [2] * 13)[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    negatives, indices = Negatives(labels, 8), torch.arange(40)
    counts = torch.zeros(40, 40)
    for step in range(400):
        rows = negatives.draw(indices, torch.tensor(step))
        assert (labels[rows] != labels[:, None]).all()
        assert all(len(set(row)) == 8 for row in rows.tolist())
        counts.scatter_add_(1, rows, torch.ones(40, 8))
    for image in range(40):
        others = labels != labels[image]
        assert not counts[image][~others].any()
        share = 8 / others.sum().item()
        deviation = (share * (1 - share) / 400) ** 0.5
        assert (counts[image][others] / 400 - share).abs().max().item() < 5 * deviation


def test_negatives_are_drawn_again_where_there_are_too_few_and_the_same_for_the_same_step() -> None:
    negatives = Negatives(LABELS, 16)
    rows = negatives.draw(torch.arange(6), torch.tensor(3))
    assert rows.shape == (6, 16)
    assert (LABELS[rows] != LABELS[:, None]).all()
    assert torch.equal(rows[2:4], negatives.draw(torch.tensor([2, 3]), torch.tensor(3)))
    assert not torch.equal(rows, negatives.draw(torch.arange(6), torch.tensor(4)))
    with pytest.raises(UsageError, match="needs images of two classes or more"):
        Negatives(torch.zeros(6, dtype=torch.int64), 16)


def stepped(steps: int) -> ContrastiveRepresentation:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    run = dry(ContrastiveRepresentationConfig(negatives=4, dimensions=5), [student], teacher, LABELS)
    for _ in range(steps):
        losses_of(run, [student], teacher, IMAGES[:4], samples(LABELS[:4]))
    assert isinstance(run.method, ContrastiveRepresentation)
    return run.method


def test_the_first_batch_sets_z_and_every_batch_renews_its_own_rows_of_the_banks() -> None:
    begun, once, twice = stepped(0), stepped(1), stepped(2)
    assert begun.z.tolist() == [-1, -1]
    assert (once.z > 0).all()
    assert torch.equal(once.z, twice.z)
    for name in ("bank_of_student", "bank_of_teacher"):
        before, after = getattr(begun, name), getattr(once, name)
        assert torch.equal(before[4:], after[4:])
        assert torch.allclose(after[:4].norm(dim=1), torch.ones(4))
        assert before.abs().max() <= (3 / 5) ** 0.5
    assert [method.steps.item() for method in (begun, once, twice)] == [0, 1, 2]
    assert {"bank_of_student", "bank_of_teacher", "z", "steps", "salt"} <= once.state_dict().keys()
    assert not any("negatives" in name for name in once.state_dict())


def test_the_bank_keeps_half_of_the_old_embedding() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3, width=8)
    run = dry(ContrastiveRepresentationConfig(negatives=4, dimensions=5), [student], teacher, LABELS)
    method = run.method
    assert isinstance(method, ContrastiveRepresentation)
    before = method.bank_of_teacher.clone()
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    pooled = teacher.network.stages((IMAGES - teacher.mean) * teacher.inverse_std).flatten(1)  # type: ignore[operator, union-attr]
    embedded = torch.nn.functional.normalize(method.embed_teacher(pooled), dim=1)
    expected = torch.nn.functional.normalize(0.5 * before + 0.5 * embedded, dim=1)
    assert torch.allclose(method.bank_of_teacher, expected, atol=1e-6)
    assert set(found) == {"of_student", "of_teacher", "label"}
    torch.stack(list(found.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_several_places_are_refused() -> None:
    taps = TapPairs(student=("stages.0", "stages.1"), teacher=("stages.0", "stages.1"))
    with pytest.raises(UsageError, match=r"keeps one embedding of each image; method\.taps names 2 places"):
        dry(ContrastiveRepresentationConfig(taps=taps), [network(3)], network(3), LABELS)
