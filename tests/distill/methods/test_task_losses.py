"""Label losses and soft losses of masks and depth maps against slow twins."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.methods.hinton_kd import soft_target_loss
from distill.methods.task_losses import depth_loss, losses_of, pixel_loss


def classes_with_unknown() -> Tensor:
    truth = torch.randint(0, 4, (3, 5, 6), generator=torch.Generator().manual_seed(0))
    truth[0, :2] = 255
    truth[2] = 255
    return truth


def test_cross_entropy_leaves_out_pixels_that_are_not_known(logits: Callable[..., Tensor]) -> None:
    answers, truth = logits(3, 4, 5, 6, seed=1), classes_with_unknown()
    per_image: list[list[float]] = [[], [], []]
    for image, row, column in np.ndindex(3, 5, 6):
        label = int(truth[image, row, column])
        if label != 255:
            scores = answers[image, :, row, column].numpy()
            per_image[image].append(math.log(np.exp(scores).sum()) - scores[label])
    everything = [loss for losses in per_image for loss in losses]
    assert pixel_loss(answers, truth).item() == pytest.approx(np.mean(everything))
    found = pixel_loss(answers, truth, reduction="none").tolist()
    assert found == pytest.approx([np.mean(per_image[0]), np.mean(per_image[1]), 0.0])


def test_a_batch_of_which_nothing_is_known_costs_nothing_and_moves_nothing(logits: Callable[..., Tensor]) -> None:
    answers = logits(1, 4, 5, 6, seed=1).requires_grad_()
    loss = pixel_loss(answers, torch.full((1, 5, 6), 255))
    loss.backward()
    assert loss.item() == 0
    assert answers.grad is not None
    assert not answers.grad.any()


@pytest.mark.parametrize("kind", ["l1", "berhu"])
def test_depth_is_compared_where_it_is_known(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    metres = 1 + 5 * torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    metres[0, 1:3] = 0
    depth = metres[:, None] + torch.randn(2, 1, 4, 5, generator=generator, dtype=torch.float64)
    errors = [
        abs(float(depth[image, 0, row, column] - metres[image, row, column]))
        for image, row, column in np.ndindex(2, 4, 5)
        if metres[image, row, column] > 0
    ]
    bend = 0.2 * max(errors)
    if kind == "berhu":
        errors = [error if error <= bend else (error**2 + bend**2) / (2 * bend) for error in errors]
    assert depth_loss(kind)(depth, metres).item() == pytest.approx(np.mean(errors))  # type: ignore[arg-type]


def test_depth_of_a_teacher_is_a_target_everywhere() -> None:
    losses = losses_of("depth", "l1")
    student, teacher = torch.full((2, 1, 3, 3), 2.0), torch.full((2, 1, 3, 3), 5.0)
    teacher[0, 0, 0, 0] = 0.0  # its answer, and no pixel that is unknown
    expected = (17 * 3.0 + 2.0) / 18
    assert losses.soft(student, teacher, temperature=4.0).item() == pytest.approx(expected, rel=1e-3)


def test_soft_targets_of_masks_are_those_of_every_pixel_as_a_picture(logits: Callable[..., Tensor]) -> None:
    student, teacher = logits(2, 4, 3, 5, seed=1), logits(2, 4, 3, 5, seed=2)
    rows = [maps.permute(0, 2, 3, 1).reshape(-1, 4) for maps in (student, teacher)]
    found = losses_of("segmentation", "l1").soft(student, teacher, temperature=3.0)
    assert found.item() == pytest.approx(soft_target_loss(*rows, temperature=3.0).item())
