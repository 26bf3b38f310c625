"""Which operations integers break, in any format: what is divided by must stay in float.

A divisor that is computed from the picture is rounded to zero as soon as a picture makes it small beside the largest
one that calibration saw; then the model answers infinity, or its runtime ends ("Check failed: divisor is non-zero").
So a quotient, a reciprocal root and a normalisation are computed in float, with everything that only they need.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic

from export.quantize.steps import Step, Tensor


def stay_float(
    steps: Iterable[Step[Tensor]], is_constant: Callable[[Tensor], bool], size: Callable[[Tensor], int]
) -> set[int]:
    """Numbers of the operations that divide by something computed, of what only they need, and of what roots scale.

    Args:
        steps: all operations, in the order of execution.
        is_constant: whether a tensor is the same for every picture.
        size: number of values of a tensor.
    """
    return _Search(steps, is_constant, size).found


class _Search(Generic[Tensor]):
    def __init__(
        self, steps: Iterable[Step[Tensor]], is_constant: Callable[[Tensor], bool], size: Callable[[Tensor], int]
    ) -> None:
        steps = list(steps)
        self._is_constant = is_constant
        self._size = size
        self._producers = {tensor: step for step in steps for tensor in step.outputs}
        self._users: defaultdict[Tensor, list[Step[Tensor]]] = defaultdict(list)
        for step in steps:
            for tensor in step.inputs:
                self._users[tensor].append(step)
        self.found: set[int] = set()
        self._for_divisors: set[int] = set()
        for step in steps:
            place = {"quotient": 1, "root": 0}.get(step.kind)
            if place is not None and len(step.inputs) > place and not is_constant(step.inputs[place]):
                if step.kind == "root":
                    self._for_divisors.add(step.number)
                self._add_what_only_it_needs(step.inputs[place])
                self.found |= {step.number} | self._for_divisors
                if step.kind == "root":
                    self._add_what_it_scales(step)

    def _add_what_only_it_needs(self, divisor: Tensor) -> None:
        """The operations that a divisor is computed by, up to weighted sums and values that others need as well.

        What is divided is needed by the division itself and is no such operation.
        """
        waiting = [divisor]
        while waiting:
            tensor = waiting.pop()
            producer = self._producers.get(tensor)
            if producer is None or producer.number in self._for_divisors or producer.kind == "weighted":
                continue
            users = [user for index in producer.outputs for user in self._users[index]]
            only = all(user.number in self._for_divisors for user in users)
            if producer.kind == "reduction" or only or tensor == divisor:
                self._for_divisors.add(producer.number)
                waiting += [index for index in producer.inputs if not self._is_constant(index)]

    def _add_what_it_scales(self, root: Step[Tensor]) -> None:
        """Products and sums with a reciprocal, up to the first values that are as many as what is normalised."""
        waiting: Sequence[Tensor] = root.outputs
        while waiting:
            found: list[Tensor] = []
            for user in self._elementwise_users(waiting):
                if user.number not in self.found:
                    self.found.add(user.number)
                    found += [index for index in user.outputs if self._size(index) <= self._size(root.outputs[0])]
            waiting = found

    def _elementwise_users(self, tensors: Sequence[Tensor]) -> Iterator[Step[Tensor]]:
        for tensor in tensors:
            yield from (user for user in self._users[tensor] if user.kind == "elementwise")
