from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.evaluation.evaluate import MOST_CONFUSIONS, MOST_MISTAKES, confusion_matrix, judge, metrics


def numpy_ece(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15) -> float:
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    total = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            total += inside.mean() * abs((predicted == labels)[inside].mean() - confidence[inside].mean())
    return total


def test_every_metric_equals_its_slow_numpy_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=generator)
    labels = torch.randint(0, 4, (500,), generator=generator)
    found = metrics(logits, labels, epoch=3)

    p = torch.softmax(logits.double(), 1).numpy()
    y, predicted = labels.numpy(), p.argmax(1)
    f1 = [2 * ((predicted == c) & (y == c)).sum() / ((predicted == c).sum() + (y == c).sum()) for c in range(4)]
    assert found.epoch == 3
    assert found.accuracy == pytest.approx((predicted == y).mean())
    assert found.macro_f1 == pytest.approx(np.mean(f1), abs=1e-6)
    assert found.ece == pytest.approx(numpy_ece(p, y), abs=1e-5)
    assert found.entropy_nats == pytest.approx(-(p * np.log(p)).sum(1).mean(), abs=1e-5)
    assert found.loss == pytest.approx(-np.log(p[np.arange(500), y]).mean(), abs=1e-5)


def test_certainty_has_no_entropy_and_uniform_answers_have_log_classes() -> None:
    labels = torch.tensor([0, 1, 2])
    assert metrics(1000 * torch.eye(3), labels, epoch=1).entropy_nats == 0
    assert metrics(torch.zeros(3, 3), labels, epoch=1).entropy_nats == pytest.approx(np.log(3), abs=1e-6)


def test_a_judgement_counts_every_image_class_by_class_as_a_slow_twin_does() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 5, generator=generator), torch.randint(0, 4, (300,), generator=generator)
    found, predicted = judge(logits, labels, epoch=2, split="test"), logits.argmax(1)
    pairs = Counter((int(own), int(other)) for own, other in zip(labels, predicted, strict=True))
    assert found.metrics == metrics(logits, labels, epoch=2)
    assert found.images == tuple(int((labels == label).sum()) for label in range(5))
    assert found.right == tuple(pairs[label, label] for label in range(5))
    assert {(own, other): count for own, other, count in found.confusions} == {
        pair: count for pair, count in pairs.items() if pair[0] != pair[1]
    }
    counts = [count for _, _, count in found.confusions]
    assert counts == sorted(counts, reverse=True)
    assert confusion_matrix(logits, labels)[2, 3] == pairs[2, 3]


def test_a_judgement_keeps_no_more_confusions_than_a_card_should_hold() -> None:
    classes = 40
    pairs = torch.cartesian_prod(torch.arange(classes), torch.arange(classes))
    found = judge(torch.eye(classes)[pairs[:, 1]], pairs[:, 0], epoch=1)
    assert len(found.confusions) == MOST_CONFUSIONS
    assert len(found.mistakes) == MOST_MISTAKES
