"""Runs an ML Program operation by operation: constants are decoded and arguments bound once, when it is loaded.

What it computes is what lies on disk, in the precision that each operation declares: every fp16 result is rounded to
fp16. Sums inside an operation are in float32; Core ML and the Neural Engine may sum in fp16 and fuse operations.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import UsageError, WorkFailed
from export.artifact.mil.decompress import decompressor
from export.artifact.mil.operations import OPERATIONS, Bools, Ints
from export.artifact.mil.program import COMPRESSED, Constant, Named, Operation, Program, Reference

Observer = Callable[[str, Tensor], None]
"""Called with the name and the value of every input and every result."""


@dataclass(frozen=True)
class Step:
    """An operation ready to run: `fixed` arguments, and for the others the names of the values they take."""

    operation: Operation
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    fixed: Mapping[str, object]
    live: Mapping[str, str]
    live_lists: Mapping[str, tuple[str | Tensor, ...]] = field(default_factory=dict)

    def run(self, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The results, rounded and checked against the types that the operation declares."""
        arguments = {parameter: values[name] for parameter, name in self.live.items()}
        for parameter, names in self.live_lists.items():
            arguments[parameter] = [values[name] if isinstance(name, str) else name for name in names]  # pyright: ignore[reportArgumentType]
        try:
            result = self.function(**self.fixed, **arguments)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise WorkFailed(f"{self.describe()} cannot be computed: {error}. Export the model again.") from error
        results = result if isinstance(result, tuple) else (result,)
        return tuple(
            self.declared(value, output) for value, output in zip(results, self.operation.outputs, strict=True)
        )

    def declared(self, value: Tensor, output: Named) -> Tensor:
        """A result in the precision of its declared type."""
        if tuple(value.shape) != output.type.shape:
            raise WorkFailed(
                f"{self.describe()} gives shape {list(value.shape)}, the program declares {list(output.type.shape)}. "
                "Export the model again."
            )
        return value.half().float() if output.type.dtype == "fp16" else value

    def describe(self) -> str:
        """For messages."""
        return f"operation {self.operation.type} ({self.operation.name})"


class Interpreter:
    """A program that can be called.

    Raises:
        UsageError: an operation, an input of one, or a type that is not known here, by name.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._constants = dict(program.constants)
        self._known = {entry.name for entry in program.inputs}
        self._steps = tuple(step for operation in program.operations if (step := self._prepare(operation)))
        self._done_with = _last_uses(self._steps, program.outputs)
        missing = [name for name in program.outputs if name not in self._known]
        if missing:
            raise UsageError(f"the program's output {missing[0]!r} is not computed by any operation")

    def run(self, inputs: Mapping[str, Tensor], observe: Observer | None = None) -> dict[str, Tensor]:
        """Outputs by name; inputs by name as the program declares them.

        Raises:
            WorkFailed: the program contradicts itself.
        """
        values = dict(inputs)
        with torch.inference_mode():
            for name, value in inputs.items() if observe else ():
                observe(name, value)  # pyright: ignore[reportOptionalCall]
            for step, done_with in zip(self._steps, self._done_with, strict=True):
                for output, value in zip(step.operation.outputs, step.run(values), strict=True):
                    values[output.name] = value
                    if observe:
                        observe(output.name, value)
                for name in done_with:
                    values.pop(name, None)
        return {name: values[name] for name in self.program.outputs}

    def _prepare(self, operation: Operation) -> Step | None:
        """Bind an operation; a compressed weight becomes a constant instead."""
        if operation.type.startswith(COMPRESSED):
            self._decompress(operation)
            return None
        function = OPERATIONS.get(operation.type)
        if function is None:
            raise UsageError(
                f"operation {operation.type!r} ({operation.name}) is not known to the ML Program interpreter"
            )
        step = self._bind(operation, function)
        self._known.update(output.name for output in operation.outputs)
        return step

    def _bind(self, operation: Operation, function: Callable[..., Any]) -> Step:
        parameters = _parameters(function)
        _refuse_inputs(operation, function)
        fixed: dict[str, object] = {}
        live: dict[str, str] = {}
        live_lists: dict[str, tuple[str | Tensor, ...]] = {}
        for parameter, bindings in operation.inputs.items():
            wanted, place = parameters[parameter], f"{operation.type} ({operation.name}): {parameter}"
            values = [self._resolve(binding, place) for binding in bindings]
            if wanted is list:
                live_lists[parameter] = tuple(
                    value.name if isinstance(value, Reference) else _convert(value, Tensor, place) for value in values
                )
            elif len(values) != 1:
                raise UsageError(f"{place} has {len(values)} values, expected one")
            elif not isinstance(values[0], Reference):
                fixed[parameter] = _convert(values[0], wanted, place)
            elif wanted is Tensor:
                live[parameter] = values[0].name
            else:
                raise UsageError(f"{place} is computed at run time; only a constant is known here")
        return Step(operation, function, fixed, live, live_lists)

    def _decompress(self, operation: Operation) -> None:
        function = decompressor(operation.type, set(operation.inputs))
        if function is None or len(operation.outputs) != 1:
            raise UsageError(f"compressed weights of type {operation.type!r} are not known to the interpreter")
        _refuse_inputs(operation, function)
        arguments: dict[str, object] = {}
        for parameter, bindings in operation.inputs.items():
            place = f"{operation.type} ({operation.name}): {parameter}"
            value = self._resolve(bindings[0], place) if len(bindings) == 1 else None
            if value is None or isinstance(value, (Reference, str)):
                raise UsageError(f"{place} is not a constant")
            arguments[parameter] = _convert(value, int, place) if _parameters(function)[parameter] is int else value
        output = operation.outputs[0]
        try:
            weights = function(**arguments)
        except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
            raise UsageError(f"{operation.type} ({output.name}) cannot be decoded: {error}.") from error
        if weights.shape != output.type.shape:
            raise UsageError(
                f"{operation.type} ({output.name}) gives shape {weights.shape}, the program declares "
                f"{output.type.shape}"
            )
        self._constants[output.name] = weights

    def _resolve(self, binding: Reference | Constant, place: str) -> Reference | Constant:
        """A constant, or the name of a value that is there when the operation runs."""
        if not isinstance(binding, Reference):
            return binding
        if binding.name in self._constants:
            return self._constants[binding.name]
        if binding.name not in self._known:
            raise UsageError(f"{place} refers to {binding.name!r}, which nothing before it defines")
        return binding


def _last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> list[set[str]]:
    """For each step the values that no later step takes, so that memory does not grow with the program."""
    needed = set(outputs)
    last_uses: list[set[str]] = []
    for step in reversed(steps):
        taken = {*step.live.values(), *(n for names in step.live_lists.values() for n in names if isinstance(n, str))}
        taken |= {output.name for output in step.operation.outputs}
        last_uses.append(taken - needed)
        needed |= taken
    return last_uses[::-1]


def _refuse_inputs(operation: Operation, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function).parameters
    unknown = sorted(set(operation.inputs) - set(signature))
    missing = [n for n, p in signature.items() if p.default is inspect.Parameter.empty and n not in operation.inputs]
    if unknown:
        raise UsageError(f"operation {operation.type!r} ({operation.name}) has the unknown input {unknown[0]!r}")
    if missing:
        raise UsageError(f"operation {operation.type!r} ({operation.name}) has no {missing[0]!r}")


@cache
def _parameters(function: Callable[..., Any]) -> dict[str, object]:
    """What each parameter wants: Tensor, list (of tensors), an int, float, bool or str, `Ints` or `Bools`."""
    hints = typing.get_type_hints(function)
    hints.pop("return")
    return {name: list if typing.get_origin(_bare(h)) is list else _bare(h) for name, h in hints.items()}


def _bare(hint: Any) -> Any:
    """A hint without `| None`."""
    if isinstance(hint, types.UnionType):
        return next(each for each in typing.get_args(hint) if each is not type(None))
    return hint


def _convert(value: Constant, wanted: object, place: str) -> Any:
    """A constant as the parameter wants it."""
    if isinstance(value, str):
        if wanted is str:
            return value
    elif wanted is Tensor:
        return _tensor(value)
    elif wanted in (int, bool) and value.size == 1 and value.dtype.kind in "iub":
        return wanted(value.item())  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    elif wanted is float and value.size == 1 and value.dtype.kind == "f":
        return float(value.item())
    elif (wanted == Ints and value.dtype.kind in "iu") or (wanted == Bools and value.dtype.kind == "b"):
        return tuple(value.ravel().tolist())
    raise UsageError(f"{place} is {value!r:.60}, which is not of the type known here")


def _tensor(value: NDArray[Any]) -> Tensor:
    """Floats as float32 (fp16 exactly), integers as int32, which torch computes with everywhere."""
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.bool_}
    return torch.from_numpy(np.array(value, dtype=kinds[value.dtype.kind]))
