import numpy as np
import pytest
import torch

from distill.evaluation.clips import mean_of_clips, qualities, share_interval
from distill.vision.datasets import Split


def split(labels: list[int], clips: list[int] | None, groups: list[int] | None) -> Split:
    images = np.zeros((len(labels), 8, 8, 1), dtype=np.uint8)
    numbers = [None if each is None else np.asarray(each) for each in (groups, clips)]
    return Split(images, np.asarray(labels), ("a", "b"), numbers[0], clips=numbers[1])


def test_a_clip_answers_with_the_mean_of_its_frames_logits() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 2.0]])
    clips = torch.tensor([1, 1, 1, 0, 0])
    assert torch.allclose(mean_of_clips(logits, clips), torch.tensor([[0.0, 2.0], [1.0, 2 / 3]]))
    frames, whole = qualities(logits, split([0, 0, 0, 1, 1], [7, 7, 7, 4, 4], [0, 0, 0, 1, 1]), epoch=3)
    assert (frames.unit, frames.count, frames.metrics.accuracy) == ("frames", 5, pytest.approx(0.6))
    assert (whole.unit, whole.count, whole.metrics.accuracy, whole.patients) == ("clips", 2, 1.0, 2)


def test_images_that_are_no_frames_are_judged_alone() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    (plain,) = qualities(logits, split([0, 1], None, None), epoch=1)
    assert (plain.unit, plain.patients, plain.accuracy_interval) == ("images", None, None)


def test_the_interval_is_of_patients_and_not_of_frames() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 50)
    alike = share_interval(np.repeat(rng.random(20) < 0.7, 50), patients)
    mixed = share_interval(rng.random(1000) < 0.7, patients)
    assert alike is not None
    assert mixed is not None
    assert alike[1] - alike[0] > 0.3
    assert mixed[1] - mixed[0] < 0.12
    perfect = share_interval(np.ones(1000, dtype=bool), patients)
    assert perfect == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert share_interval(np.ones(50, dtype=bool), np.zeros(50, dtype=np.int64)) is None


def test_the_interval_covers_what_it_claims() -> None:
    """Simulated patients of unequal numbers of frames, whose own accuracies spread around 0.8."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        own, counts = rng.beta(8, 2, 25), rng.integers(5, 30, 25)
        patients = np.repeat(np.arange(25), counts)
        interval = share_interval(rng.random(len(patients)) < own[patients], patients)
        assert interval is not None
        covered.append(interval[0] <= 0.8 <= interval[1])
    assert np.mean(covered) >= 0.93
