"""How the error on other images changes with the weights of a training loss, one step of its optimizer later.

With the training loss L(theta, w) = l(theta) + sum_k w_k d_k(theta) and the step theta' = theta - u(grad L), the
derivative of the error E(theta') in w_k is -(u' v) . grad d_k, where v is the gradient of E at theta' and u' the slope
of the step, element by element. L is affine in w, so nothing is differentiated twice: the product is the derivative of
d_k along one direction, the same for all k, and two forward passes give it for all of them (DistPro, Eq. 4 and 5, after
DARTS, arXiv:1806.09055), of the d_k or of anything that differs from them by a constant.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]

STEP_LENGTH = 0.01
"""Length of the steps to either side along the direction (epsilon times the norm of v in the paper's Eq. 5)."""


def hyper_gradient(
    weights: Mapping[str, Tensor],
    updates: Mapping[str, tuple[Tensor, Tensor | float]],
    error: Callable[[Weights], Tensor],
    distances: Callable[[Weights], Tensor],
    *,
    step_length: float = STEP_LENGTH,
) -> Tensor:
    """Derivatives of the error after the step in the weights of L losses, [L], by central differences.

    Nothing is changed: both functions are called at other weights than the network's.

    Args:
        weights: theta by name, detached.
        updates: u and its slope u' by name; see `update`.
        error: theta -> scalar; called once, with gradient.
        distances: theta -> d [L], each but for a constant of its own; called twice, without gradient.
        step_length: of the finite differences, which are wrong by its square.
    """
    ahead = {name: (value - updates[name][0]).requires_grad_() for name, value in weights.items()}
    gradients = torch.autograd.grad(error(ahead), list(ahead.values()), allow_unused=True)
    direction = {
        name: updates[name][1] * gradient
        for name, gradient in zip(ahead, gradients, strict=True)
        if gradient is not None
    }
    length = torch.stack([part.square().sum() for part in direction.values()]).sum().sqrt()
    epsilon = step_length / length.clamp_min(torch.finfo(length.dtype).tiny ** 0.5)
    with torch.no_grad():
        forward, backward = (
            distances({name: value + sign * epsilon * direction.get(name, 0.0) for name, value in weights.items()})
            for sign in (1, -1)
        )
    return -(forward - backward) / (2 * epsilon)


def update(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor | float]]:
    """What a step would take off each parameter, and the slope of that in the gradient; the optimizer stays as it is.

    Momentum and averages of earlier gradients count as constants, and so does the weight decay's part.

    Args:
        optimizer: SGD or AdamW, without `maximize`, dampening or AMSGrad.
        parameters: of it, detached or not.
        gradients: of the loss in them.
    """
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    step = _sgd if isinstance(optimizer, torch.optim.SGD) else _adamw
    return [
        step(groups[id(parameter)], optimizer.state.get(parameter, {}), parameter.detach(), gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]


def _sgd(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, gradient: Tensor
) -> tuple[Tensor, float]:
    rate, momentum = group["lr"], group["momentum"]
    gradient = gradient + group["weight_decay"] * parameter
    if not momentum:
        return rate * gradient, rate
    earlier = state.get("momentum_buffer")
    velocity = gradient if earlier is None else gradient + momentum * earlier
    if group["nesterov"]:
        return rate * (gradient + momentum * velocity), rate * (1 + momentum)
    return rate * velocity, rate


def _adamw(
    group: Mapping[str, Any], state: Mapping[str, Any], parameter: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    rate, (keep_mean, keep_square), floor = group["lr"], group["betas"], group["eps"]
    steps = torch.as_tensor(state.get("step", 0)).double() + 1
    mean = (1 - keep_mean) * gradient + keep_mean * state.get("exp_avg", 0.0)
    square = (1 - keep_square) * gradient.square() + keep_square * state.get("exp_avg_sq", 0.0)
    mean_share, square_share = 1 - keep_mean**steps, 1 - keep_square**steps
    root = (square / square_share).sqrt()
    length = root + floor
    taken = mean / mean_share / length
    # Where all gradients were 0 the root has no slope; the mean is 0 there as well.
    slope_of_root = (1 - keep_square) * gradient / square_share / root.clamp_min(torch.finfo(root.dtype).tiny ** 0.5)
    slope = (1 - keep_mean) / mean_share / length - taken / length * slope_of_root
    return rate * (taken + group["weight_decay"] * parameter), rate * slope
