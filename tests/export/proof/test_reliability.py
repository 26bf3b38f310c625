import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from export.proof.reliability import BINS, calibration_error, confidences


def draw(seed: int, images: int, classes: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(images, classes))).astype(np.float32), rng.integers(0, classes, images)


@pytest.mark.parametrize(("images", "classes", "scale"), [(500, 10, 1.0), (200, 2, 5.0), (7, 100, 0.1)])
def test_both_are_the_figures_of_torch_and_torchmetrics(images: int, classes: int, scale: float) -> None:
    logits, labels = draw(images, images, classes, scale)
    probabilities = torch.from_numpy(logits).softmax(1)
    found = confidences(logits)
    np.testing.assert_allclose(found, probabilities.max(1).values, rtol=1e-5)
    expected = multiclass_calibration_error(probabilities, torch.from_numpy(labels), num_classes=classes, n_bins=BINS)
    assert calibration_error(found, logits.argmax(1) == labels) == pytest.approx(float(expected), abs=1e-5)


def test_logits_beyond_the_range_of_exp_are_no_trouble() -> None:
    assert confidences(np.float32([[1e4, -1e4, 0]])) == [1.0]


def test_a_model_that_is_as_right_as_it_is_sure_has_no_error() -> None:
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.zeros(4, dtype=bool)) == 1.0
