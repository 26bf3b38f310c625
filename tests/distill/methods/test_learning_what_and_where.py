import copy
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.config import SGD, TrainingSettings
from distill.methods import Outputs
from distill.methods.learning_what_and_where import (
    LearningWhatAndWhere,
    LearningWhatAndWhereConfig,
    matching_loss,
)
from distill.training.batches import Batch
from distill.training.stages import spans
from distill.training.step import Objective, Step, choose_trained, make_optimizer
from tests.distill.methods.toy import SIZE_PX, dry, network, teacher_for

Array = NDArray[np.float64]
LABELS = torch.arange(6) % 3


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bilinear(values: Array, size: tuple[int, int]) -> Array:
    """Pixels are squares, not points."""
    found = np.zeros((*values.shape[:2], *size))
    for i, j in np.ndindex(*size):
        for axis_y, share_y in neighbours(i, size[0], values.shape[2]):
            for axis_x, share_x in neighbours(j, size[1], values.shape[3]):
                found[:, :, i, j] += share_y * share_x * values[:, :, axis_y, axis_x]
    return found


def neighbours(index: int, wanted: int, there: int) -> list[tuple[int, float]]:
    centre = min(max((index + 0.5) * there / wanted - 0.5, 0), there - 1)
    low = int(centre)
    return [(low, 1 - (centre - low)), (min(low + 1, there - 1), centre - low)]


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (7, 2)])
def test_equals_the_slow_numpy_twin(size: tuple[int, int]) -> None:
    student, teacher = drawn(3, 2, 4, 4, seed=0), drawn(3, 2, *size, seed=1)
    of_channels, of_pair = drawn(3, 2, seed=2).softmax(1), drawn(3, seed=3).abs()
    wanted, expected = bilinear(teacher.numpy(), (4, 4)), 0.0
    for b, c in np.ndindex(3, 2):
        square = ((student[b, c].numpy() - wanted[b, c]) ** 2).mean()
        expected += of_pair[b].item() * of_channels[b, c].item() * square / 3
    assert matching_loss(student, teacher, of_channels, of_pair).item() == pytest.approx(expected, abs=1e-10)


class Weighed:
    """A student in float64 that learns with the method, and what a step needs."""

    def __init__(self, **settings: Any) -> None:
        torch.manual_seed(0)
        self.student, self.teacher = network(3, normalised=True), teacher_for("", 3)
        self.run = dry(LearningWhatAndWhereConfig(**settings), [self.student], self.teacher, LABELS)
        assert isinstance(self.run.method, LearningWhatAndWhere)
        self.method = self.run.method
        self.teacher.double()
        self.objective = Objective(nn.ModuleList([self.student]), self.method, self.run.students).double()
        (span,) = spans(self.method.stages(), 1, kind="")
        choose_trained(self.objective, span.stage)
        training = TrainingSettings(epochs=1, batch_size=6, optimizer=SGD(lr=0.1))
        self.optimizer = make_optimizer(training, self.objective)
        self.step = Step(Fabric(accelerator="cpu", devices=1), self.objective, self.optimizer, self.answer, SIZE_PX)

    @torch.no_grad()
    def answer(self, batch: Batch) -> Outputs:
        assert self.run.teacher is not None
        return Outputs(self.teacher(batch.images), self.run.teacher.take())


def batch_of(seed: int) -> Batch:
    images = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Batch(images, LABELS, torch.arange(6))


def error_after(whole: Weighed, batch: Batch, other: Batch, steps: int) -> float:
    """What the student would do on other images: it really takes the steps, by plain descent, and goes back."""
    objective, kept = whole.objective, copy.deepcopy(whole.objective.state_dict())
    learning = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    for number in range(steps + 1):
        losses = objective(*whole.step.arguments(batch))
        loss = losses["match" if number < steps else "label"]
        gradients = torch.autograd.grad(loss, learning, materialize_grads=True)
        with torch.no_grad():
            for parameter, gradient in zip(learning, gradients, strict=True):
                parameter -= 0.1 * gradient
    with torch.no_grad():
        error = objective(*whole.step.arguments(other))["label"].item()
    objective.load_state_dict(kept)
    return error


def test_the_weighers_learn_from_the_error_after_steps_that_the_student_never_takes() -> None:
    whole, plain = Weighed(), Weighed()
    batch, other = batch_of(1), batch_of(2)
    stepper = whole.method.stepper(whole.step, iter([other]))
    with whole.run.tapped(), plain.run.tapped():
        stepper(batch)
        plain.step(batch)
        learnt = whole.objective.state_dict()
        for name, value in plain.objective.state_dict().items():
            assert torch.equal(value, learnt[name]) != name.startswith("method.weighers."), name
        for name, index in (("4.what.weight", (1, 2)), ("8.where.bias", (0,))):
            gradient = whole.method.weighers.get_parameter(name).grad
            assert gradient is not None
            parameter, errors = plain.method.weighers.get_parameter(name), []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[index] += sign * 1e-4
                errors.append(error_after(plain, batch, other, steps=2))
                with torch.no_grad():
                    parameter[index] -= sign * 1e-4
            expected = (errors[0] - errors[1]) / 2e-4
            assert expected != 0
            assert gradient[index].item() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_as_the_authors_have_it_the_batch_itself_judges() -> None:
    whole = Weighed(held_back=0.0)
    assert whole.method.config.needs.held_back == 0
    stepper = whole.method.stepper(whole.step, None)
    with whole.run.tapped():
        stepper(batch_of(1))
    assert all(parameter.grad is not None for parameter in whole.method.weighers.parameters())


def test_all_pairs_are_compared_and_begin_with_equal_channels_and_the_weight_one() -> None:
    whole = Weighed(weight=0.5)
    assert len(whole.method.pairs) == 9
    batch = batch_of(3)
    whole.objective.eval()
    with whole.run.tapped():
        found = whole.step.losses(batch)["match"].item()
        arguments = whole.step.arguments(batch)
        whole.student(batch.images)
        ours, theirs = whole.run.students[0].take(), arguments[4]
    expected = 0.0
    for (mine, its), adapt in zip(whole.method.pairs, whole.method.adapters, strict=True):
        channels = theirs[its].shape[1]
        equal = torch.full((6, channels), 1 / channels).double()
        expected += 0.5 * matching_loss(adapt(ours[mine]), theirs[its], equal, torch.ones(6).double()).item()
    assert found == pytest.approx(expected)


def test_its_optimizer_is_its_state() -> None:
    whole, other = Weighed(), Weighed()
    steppers = [each.method.stepper(each.step, iter([batch_of(2)])) for each in (whole, other)]
    with whole.run.tapped():
        steppers[0](batch_of(1))
    steppers[1].load_state_dict(steppers[0].state_dict())
    assert str(steppers[1].state_dict()) == str(steppers[0].state_dict())
