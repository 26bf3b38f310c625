"""A model as the steps it is computed in, whatever its format: what rules on integers are written for."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Tensor = TypeVar("Tensor", bound=Hashable)

Kind = Literal["quotient", "root", "reduction", "elementwise", "weighted", "resize", "other"]
"""`quotient` divides its first input by its second, `root` is the reciprocal (root) of its only one."""


@dataclass(frozen=True)
class Step(Generic[Tensor]):
    """One operation of a model.

    Attributes:
        number: its place in the order of execution.
        kind: what it does.
        inputs, outputs: tensors, by whatever the format knows them.
    """

    number: int
    kind: Kind
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
