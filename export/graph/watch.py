"""What a network does while it computes, seen operation by operation: whose line of Python asked for it.

Operations that draw random numbers make answers differ from call to call. One that hands a value computed from the
picture to Python lets the network branch on it, which a trace freezes.
"""

import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default)
"""Operations whose result is a number of Python's."""

HANDED_OVER = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
"""Methods that hand over all values without an operation of PyTorch's."""

_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Place:
    """A line of the network's own code.

    Attributes:
        module: class of the module that it belongs to; empty outside of one.
        file: its name, without folders.
        line: 1-based.
        code: as it is written.
    """

    module: str
    file: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.module + ' in ' if self.module else ''}{self.file}, line {self.line} (`{self.code}`)"


def reads_of_the_picture(model: nn.Module, example: Tensor) -> list[Place]:
    """Where a network reads a value that it has computed from its input [B, C, H, W], in the order of execution.

    Shapes, and what is computed from weights alone, do not count.
    """
    watch = _Watch(lambda operation, from_input: from_input and operation in READS, example)
    return watch.places_in(model, example)


def draws_of_chance(model: nn.Module, example: Tensor) -> list[Place]:
    """Where a network draws random numbers to answer its input [B, C, H, W]."""
    watch = _Watch(lambda operation, _: torch.Tag.nondeterministic_seeded in operation.tags, example)
    return watch.places_in(model, example)


class _Watch(TorchDispatchMode):
    """Notes the places of operations that `counts(operation, whether it takes anything computed from the input)`."""

    def __init__(self, counts: Callable[[Any, bool], bool], example: Tensor) -> None:
        super().__init__()
        self._counts = counts
        self._from_input = WeakTensorKeyDictionary()
        self._from_input[example] = True
        self._places: list[Place] = []

    def places_in(self, model: nn.Module, example: Tensor) -> list[Place]:
        """Run the network once."""
        with torch.no_grad(), self, _HandedOver(self):
            model(example)
        return self._places

    def hands_over(self, values: object) -> None:
        """Python has got all values of a tensor."""
        if values in self._from_input and self._counts(READS[0], True):
            self._note()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        from_input = any(argument in self._from_input for argument in arguments)
        if self._counts(func, from_input):
            self._note()
        result = func(*args, **(kwargs or {}))
        if from_input:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._from_input[leaf] = True
        return result

    def _note(self) -> None:
        place = _place(sys._getframe())
        if place is not None and place not in self._places:
            self._places.append(place)


class _HandedOver(TorchFunctionMode):
    """Tells a watch of values that Python gets past its operations."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in HANDED_OVER:
            self._watch.hands_over(args[0])
        return func(*args, **(kwargs or {}))


def _place(frame: FrameType | None) -> Place | None:
    """The innermost line outside of torch and of this file."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_TORCH) and name != __file__:
            owner = frame.f_locals.get("self")
            module = type(owner).__name__ if isinstance(owner, nn.Module) else ""
            return Place(module, Path(name).name, frame.f_lineno, linecache.getline(name, frame.f_lineno).strip())
        frame = frame.f_back
    return None
