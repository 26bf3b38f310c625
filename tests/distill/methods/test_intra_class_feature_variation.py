"""IFVD against a slow twin, class by class and pixel by pixel, and what must hold whatever the numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.methods.intra_class_feature_variation import class_similarity, variation_loss

CLASSES = 4


def similarity_by_hand(maps: Tensor, labels: Tensor) -> np.ndarray:
    """[B, h, w], labels being of the maps' own size."""
    features, classes = maps.double().numpy(), labels.numpy()
    found = np.ones(classes.shape)
    for image, row, column in np.ndindex(*classes.shape):
        label = classes[image, row, column]
        if label == 255:
            continue
        own = features[image, :, row, column]
        centre = np.mean(
            [features[image, :, y, x] for y, x in zip(*np.nonzero(classes[image] == label), strict=True)], 0
        )
        found[image, row, column] = own @ centre / (np.linalg.norm(own) * np.linalg.norm(centre))
    return found


def drawn(batch: int, seed: int, channels: int = 5, size: int = 6) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_of(batch: int, size: int = 6) -> Tensor:
    """Some pixels not known; the first image lacks a class, the last one is not known at all if there are several."""
    labels = torch.randint(0, CLASSES, (batch, size, size), generator=torch.Generator().manual_seed(9))
    labels[0][labels[0] == 2] = 1
    labels[0, :2, :2] = 255
    if batch > 1:
        labels[-1] = 255
    return labels


@pytest.mark.parametrize("batch", [1, 3])
def test_the_loss_is_its_slow_twin(batch: int) -> None:
    student, teacher, labels = drawn(batch, 0), drawn(batch, 1, channels=7), labels_of(batch)
    expected = np.mean((similarity_by_hand(student, labels) - similarity_by_hand(teacher, labels)) ** 2)
    found = variation_loss(student, teacher, labels, num_classes=CLASSES).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_labels_come_to_the_size_of_the_maps_by_their_nearest_pixel() -> None:
    maps, labels = drawn(2, 0), labels_of(2)
    large = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.equal(
        class_similarity(maps, large, num_classes=CLASSES), class_similarity(maps, labels, num_classes=CLASSES)
    )


def test_equal_networks_have_nothing_to_learn_and_neither_has_what_is_not_known() -> None:
    maps, labels = drawn(2, 0), labels_of(2)
    assert variation_loss(maps, maps, labels, num_classes=CLASSES).item() == 0
    unknown = torch.full_like(labels, 255)
    assert variation_loss(maps, drawn(2, 1), unknown, num_classes=CLASSES).item() == pytest.approx(0, abs=1e-12)


def test_the_length_of_features_does_not_count() -> None:
    maps, labels = drawn(2, 0), labels_of(2)
    scaled = variation_loss(maps, 3 * drawn(2, 1), labels, num_classes=CLASSES)
    assert scaled.item() == pytest.approx(variation_loss(maps, drawn(2, 1), labels, num_classes=CLASSES).item())


def test_a_teacher_of_another_size_teaches_and_gradient_reaches_the_student_alone() -> None:
    student, teacher, labels = drawn(2, 0).requires_grad_(), drawn(2, 1, size=12), labels_of(2)
    variation_loss(student, teacher, labels, num_classes=CLASSES).backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0
    assert torch.isfinite(student.grad).all()
