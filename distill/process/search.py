"""The steps of a search: first the factors descend on the error on images held back, then the student as ever."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.methods.method import Outputs, Samples, label_alone
from distill.process.hyper_gradient import Weights, hyper_gradient, update
from distill.process.linearised import Linearised

if TYPE_CHECKING:  # they know every method
    from distill.methods.distpro_search import DistProSearch
    from distill.training.batches import Batch
    from distill.training.step import Step


class Search:
    """Takes the steps of Algorithm 1: the factors by Eq. 4 and 5, then student and transforms with the new weights.

    A step asks the teacher once, passes the transforms forward and back once, and passes the student forward four
    times: where it is, one step ahead on the images held back, and on either side for the finite differences. Only the
    first of these moves the statistics of batch normalisation; the others are calls with other weights
    (`torch.func.functional_call`), after which nothing has to be put back.

    A distance depends on the student through one map, so its slope there (`Linearised`) says all that is asked of the
    transforms: with the weights as they are, to look ahead; on either side, how it changes with the map; and with the
    new weights, for the real step.

    Deviation: a limit on the gradient's length (`training.clip_norm`) holds for the real step alone. Finite differences
    are taken of the student's maps, not of the distances, whose own part of Eq. 5 is exact.
    """

    def __init__(self, method: "DistProSearch", plain: "Step", held_back: "Iterator[Batch]") -> None:
        self.method, self.plain, self.held_back = method, plain, held_back
        self.optimizer = method.config.factors.optimizer(method.raw)

    def __call__(self, batch: "Batch") -> dict[str, Tensor]:
        """Take a step; the named losses are those before it, with the new weights."""
        other = next(self.held_back)
        arguments = self.plain.arguments(batch)
        found: list[Linearised] = []

        def parts(students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
            assert teacher is not None
            found.append(self.method.distances.linearised(students[0], teacher))
            return {"distances": found[0].values, "label": samples.label_loss(students[0].logits)}

        here = self.plain.call(parts, arguments)
        self.method.raw.grad = self._gradient(here, found[0], arguments, other)
        self.optimizer.step()
        self.method.note_factors()
        return self.plain.descend(self.method.losses(here))

    def _gradient(
        self, parts: dict[str, Tensor], found: Linearised, arguments: tuple[Any, ...], other: "Batch"
    ) -> Tensor:
        """Of the error on the images held back after the step, in the raw factors: [L]."""
        students = self.plain.module.students
        named = {
            name: parameter
            for name, parameter in students.named_parameters(prefix="students")
            if parameter.requires_grad
        }
        with torch.enable_grad():
            loss = torch.stack(list(self.method.losses(parts).values())).sum()
        slopes = torch.autograd.grad(loss, list(named.values()), retain_graph=True, materialize_grads=True)
        optimizer = getattr(self.plain.optimizer, "optimizer", self.plain.optimizer)
        updates = dict(zip(named, update(optimizer, list(named.values()), slopes), strict=True))
        weights = {name: parameter.detach() for name, parameter in named.items()}
        buffers = {name: buffer.clone() for name, buffer in students.named_buffers(prefix="students")}
        of_other = self.plain.arguments(other, ask=False)

        def error(at: Weights) -> Tensor:
            return self.plain.call(label_alone, of_other, {**at, **buffers})["label"]

        def change(at: Weights) -> Tensor:
            return self.plain.call(changes, arguments, {**at, **buffers})["distances"]

        def changes(students: tuple[Outputs, ...], *_: Any) -> dict[str, Tensor]:
            return {"distances": found.change(self.method.distances.student_maps(students[0]))}

        of_weights = hyper_gradient(weights, updates, error, change)
        raw = self.method.raw.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.method.weights_of(raw), raw, self.method.scale * of_weights)
        return gradient

    def state_dict(self) -> dict[str, Any]:
        """Of the factors' optimizer; the factors are the method's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.optimizer.load_state_dict(state["optimizer"])
