"""Finite differences along one direction against autograd through the whole step, twice differentiated."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill.process.hyper_gradient import STEP_LENGTH, hyper_gradient, update

WAYS = 5
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

SGD_KINDS: dict[str, Optimizer] = {
    "plain": lambda weights: torch.optim.SGD(weights, lr=0.1),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=0.05),
    "nesterov": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
}
KINDS: dict[str, Optimizer] = {
    **SGD_KINDS,
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.05),
}


class Student(nn.Module):
    """Two convolutions with batch normalisation, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh())
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 2, 5, 5] -> logits [B, 4], distances [WAYS] from fixed maps."""
        shallow = self.first(images)
        deep = self.second(shallow)
        distances = [(maps - number).square().mean() for number, maps in enumerate((shallow, deep, shallow, deep))]
        return self.head(deep.mean((2, 3))), torch.stack([*distances, (shallow * deep).square().mean()])


class Pair:
    """A student some steps after its beginning, images to learn and others."""

    def __init__(self, make: Optimizer) -> None:
        torch.manual_seed(0)
        self.student = Student().double()
        self.images, self.others = torch.randn(6, 2, 5, 5).double(), torch.randn(6, 2, 5, 5).double()
        self.labels = torch.arange(6) % 4
        self.shares = torch.rand(WAYS).double()
        self.optimizer = make(list(self.student.parameters()))
        for _ in range(3):
            self.optimizer.zero_grad()
            self.training_loss(dict(self.student.named_parameters()), self.shares).backward()
            self.optimizer.step()
        self.weights = {name: value.detach().clone() for name, value in self.student.named_parameters()}

    def at(self, weights: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in self.student.named_buffers()}
        return functional_call(self.student, {**weights, **buffers}, (images,))

    def training_loss(self, weights: Mapping[str, Tensor], shares: Tensor) -> Tensor:
        logits, distances = self.at(weights, self.images)
        return nn.functional.cross_entropy(logits, self.labels) + (shares * distances).sum()

    def error(self, weights: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.at(weights, self.others)[0], self.labels)

    def gradients(self, shares: Tensor) -> list[Tensor]:
        """Of the training loss, to be differentiated again if the shares are."""
        weights = {name: value.clone().requires_grad_() for name, value in self.weights.items()}
        loss = self.training_loss(weights, shares)
        return list(torch.autograd.grad(loss, list(weights.values()), create_graph=shares.requires_grad))

    def found(self, step_length: float) -> Tensor:
        parameters = list(self.student.parameters())
        updates = update(self.optimizer, parameters, self.gradients(self.shares))
        return hyper_gradient(
            self.weights,
            dict(zip(self.weights, updates, strict=True)),
            self.error,
            lambda weights: self.at(weights, self.images)[1],
            step_length=step_length,
        )

    def exact(self) -> Tensor:
        shares = self.shares.clone().requires_grad_()
        gradients = self.gradients(shares)
        group = self.optimizer.param_groups[0]
        rate, decay = group["lr"], group["weight_decay"]
        ahead: dict[str, Tensor] = {}
        for (name, value), parameter, gradient in zip(
            self.weights.items(), self.student.parameters(), gradients, strict=True
        ):
            state = self.optimizer.state[parameter]
            if "betas" in group:
                (b1, b2), steps = group["betas"], state["step"] + 1
                mean = (b1 * state["exp_avg"] + (1 - b1) * gradient) / (1 - b1**steps)
                square = (b2 * state["exp_avg_sq"] + (1 - b2) * gradient**2) / (1 - b2**steps)
                ahead[name] = value * (1 - rate * decay) - rate * mean / (square.sqrt() + group["eps"])
                continue
            gradient = gradient + decay * value
            if group["momentum"]:
                velocity = group["momentum"] * state["momentum_buffer"] + gradient
                gradient = gradient + group["momentum"] * velocity if group["nesterov"] else velocity
            ahead[name] = value - rate * gradient
        (found,) = torch.autograd.grad(self.error(ahead), shares)
        return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_exact_second_order_autograd_and_its_error_falls_with_the_square_of_the_step(kind: str) -> None:
    pair = Pair(KINDS[kind])
    exact = pair.exact()

    def relative_error(step_length: float) -> float:
        return ((pair.found(step_length) - exact).norm() / exact.norm()).item()

    assert relative_error(STEP_LENGTH) <= 1e-4
    assert 50 < relative_error(0.1) / relative_error(STEP_LENGTH) < 200


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_what_the_optimizer_takes_off_and_leaves_it_as_it_was(kind: str) -> None:
    pair = Pair(KINDS[kind])
    parameters = list(pair.student.parameters())
    gradients = pair.gradients(pair.shares)
    before = copy.deepcopy(pair.optimizer.state_dict())
    found = update(pair.optimizer, parameters, gradients)
    after = pair.optimizer.state_dict()
    assert str(before) == str(after)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    pair.optimizer.step()
    for parameter, earlier, (taken, _) in zip(parameters, pair.weights.values(), found, strict=True):
        assert torch.allclose(earlier - parameter.detach(), taken, rtol=1e-9, atol=1e-12)


def test_a_first_step_without_any_state_counts_too() -> None:
    for make in KINDS.values():
        pair = Pair(make)
        pair.optimizer = make(list(pair.student.parameters()))
        for taken, slope in update(pair.optimizer, list(pair.student.parameters()), pair.gradients(pair.shares)):
            assert torch.isfinite(taken).all()
            assert torch.isfinite(torch.as_tensor(slope)).all()


def test_where_no_gradient_comes_from_the_error_nothing_is_divided_by_zero() -> None:
    pair = Pair(KINDS["plain"])
    updates = update(pair.optimizer, list(pair.student.parameters()), pair.gradients(pair.shares))
    found = hyper_gradient(
        pair.weights,
        dict(zip(pair.weights, updates, strict=True)),
        lambda weights: 0 * pair.error(weights),
        lambda weights: pair.at(weights, pair.images)[1],
    )
    assert found.tolist() == [0] * WAYS
