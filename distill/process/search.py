"""The steps of a search: first the factors descend on the error on images held back, then the student as ever."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.methods.method import label_alone
from distill.process.hyper_gradient import Weights, hyper_gradient, update

if TYPE_CHECKING:  # they know every method
    from distill.methods.distpro_search import DistProSearch
    from distill.training.batches import Batch
    from distill.training.step import Step


class Search:
    """Takes the steps of Algorithm 1: the factors by Eq. 4 and 5, then student and transforms with the new weights.

    A step asks the teacher once and the student four times: where it is, one step ahead on the images held back, and
    on either side for the finite differences. Only the first of these moves the statistics of batch normalisation; the
    others are calls with other weights (`torch.func.functional_call`), after which nothing has to be put back. The
    graph of the first is used twice, to look ahead and for the real step, whose weights are the new ones.

    Deviation: a limit on the gradient's length (`training.clip_norm`) holds for the real step alone.
    """

    def __init__(self, method: "DistProSearch", plain: "Step", held_back: "Iterator[Batch]") -> None:
        self.method, self.plain, self.held_back = method, plain, held_back
        self.optimizer = method.config.factors.optimizer(method.raw)

    def __call__(self, batch: "Batch") -> dict[str, Tensor]:
        """Take a step; the named losses are those before it, with the new weights."""
        other = next(self.held_back)
        arguments = self.plain.arguments(batch)
        parts = self.plain.call(self.method.parts, arguments)
        self.method.raw.grad = self._gradient(parts, arguments, other)
        self.optimizer.step()
        self.method.note_factors()
        return self.plain.descend(self.method.losses(parts))

    def _gradient(self, parts: dict[str, Tensor], arguments: tuple[Any, ...], other: "Batch") -> Tensor:
        """Of the error on the images held back after the step, in the raw factors: [L]."""
        named = {
            name: parameter
            for name, parameter in self.plain.module.students.named_parameters(prefix="students")
            if parameter.requires_grad
        }
        with torch.enable_grad():
            loss = torch.stack(list(self.method.losses(parts).values())).sum()
        found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, materialize_grads=True)
        optimizer = getattr(self.plain.optimizer, "optimizer", self.plain.optimizer)
        updates = dict(zip(named, update(optimizer, list(named.values()), found), strict=True))
        weights = {name: parameter.detach() for name, parameter in named.items()}
        buffers = {name: buffer.clone() for name, buffer in self.plain.module.named_buffers()}
        of_other = self.plain.arguments(other, ask=False)

        def error(at: Weights) -> Tensor:
            return self.plain.call(label_alone, of_other, {**at, **buffers})["label"]

        def distances(at: Weights) -> Tensor:
            return self.plain.call(self.method.parts, arguments, {**at, **buffers})["distances"]

        of_weights = hyper_gradient(weights, updates, error, distances)
        raw = self.method.raw.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.method.weights_of(raw), raw, self.method.scale * of_weights)
        return gradient

    def state_dict(self) -> dict[str, Any]:
        """Of the factors' optimizer; the factors are the method's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.optimizer.load_state_dict(state["optimizer"])
