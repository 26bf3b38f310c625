"""Intermediates that outlive one export: quantizing the same model by another recipe does not convert it again."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import torch

T = TypeVar("T")


class Kept(Generic[T]):
    """What was made of a model, by key, for as long as the model lives.

    A model whose weights are changed in place is the same model to this cache: change a copy instead.
    """

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[torch.nn.Module, dict[Hashable, T]] = WeakKeyDictionary()

    def get(self, model: torch.nn.Module, key: Hashable, make: Callable[[], T]) -> T:
        """The value kept under `key`, made now if there is none."""
        values = self._of.setdefault(model, {})
        if key not in values:
            values[key] = make()
        return values[key]
