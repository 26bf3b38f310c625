"""Operations of a converted model that integers break: they stay in float, whatever the recipe says.

A divisor that is computed from the picture is rounded to zero as soon as a picture makes it small beside the largest
one that calibration saw; then the model answers infinity, or its runtime ends ("Check failed: divisor is non-zero").
So a quotient, a reciprocal root and a normalisation are computed in float, with everything that only they need.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

_QUOTIENTS = {"DIV": 1, "FLOOR_DIV": 1, "RSQRT": 0}
"""Operations that divide, and which of their inputs is the divisor."""

_REDUCTIONS = {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"}
_ELEMENTWISE = {"ADD", "SUB", "MUL", "RESHAPE", "NEG", "BROADCAST_TO", "TRANSPOSE"}
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"}
_OF_ONE_SCALE = {"CONCATENATION", "PACK", "SELECT", "SELECT_V2", "DYNAMIC_UPDATE_SLICE"}
"""ai-edge-quantizer gives all inputs the scale of the output, in the rank of that, and then refuses constants."""


@dataclass(frozen=True)
class Operation:
    """One operation of a converted model.

    Attributes:
        number: its place in the order of execution.
        inputs, outputs: numbers of tensors.
    """

    number: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Model:
    """The operations and tensors of a .tflite model, as the runtime lists them without delegates."""

    def __init__(self, content: bytes) -> None:
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._tensors: dict[int, dict[str, Any]] = {each["index"]: each for each in interpreter.get_tensor_details()}
        self.operations = [
            Operation(
                number,
                str(each["op_name"]),
                tuple(int(index) for index in each["inputs"] if index >= 0),
                tuple(int(index) for index in each["outputs"]),
            )
            for number, each in enumerate(interpreter._get_ops_details())
        ]
        self.producers = {index: each for each in self.operations for index in each.outputs}
        self.consumers: defaultdict[int, list[Operation]] = defaultdict(list)
        for each in self.operations:
            for index in each.inputs:
                self.consumers[index].append(each)
        self.entries = {int(each["index"]) for each in interpreter.get_input_details()}

    def result(self, operation: Operation) -> str:
        """The names of its results joined, by which the quantizer knows an operation."""
        return "".join(str(self._tensors[index]["name"]) for index in operation.outputs)

    def size(self, tensor: int) -> int:
        """Number of values."""
        return prod(int(side) for side in self._tensors[tensor]["shape"])

    def is_float(self, tensor: int) -> bool:
        """Whether it holds float32."""
        return self._tensors[tensor]["dtype"] == np.float32

    def is_constant(self, tensor: int) -> bool:
        """Whether no operation computes it and it is no input."""
        return tensor not in self.producers and tensor not in self.entries


def stay_float(content: bytes) -> list[str]:
    """Results of the operations that integers break, in the order of execution."""
    model = Model(content)
    chosen: set[Operation] = set()
    for operation in model.operations:
        if operation.name in _OF_ONE_SCALE and any(map(_float_constant(model), operation.inputs)):
            chosen.add(operation)
        if (place := _QUOTIENTS.get(operation.name)) is not None and not model.is_constant(operation.inputs[place]):
            chosen.add(operation)
            _add_what_only_it_needs(model, operation, operation.inputs[place], chosen)
            if operation.name == "RSQRT":
                _add_what_it_scales(model, operation, chosen)
    return [model.result(operation) for operation in sorted(chosen, key=lambda each: each.number)]


def _float_constant(model: Model) -> Any:
    return lambda tensor: model.is_constant(tensor) and model.is_float(tensor)


def _add_what_only_it_needs(model: Model, division: Operation, divisor: int, chosen: set[Operation]) -> None:
    """The operations that a divisor is computed by, up to weighted sums and values that others need as well."""
    waiting = [divisor]
    while waiting:
        producer = model.producers.get(waiting.pop())
        if producer is None or producer in chosen or producer.name in _WEIGHTED:
            continue
        users = [user for index in producer.outputs for user in model.consumers[index]]
        only = all(user in chosen for user in users)
        if producer.name in _REDUCTIONS or only or producer is model.producers.get(divisor):
            chosen.add(producer)
            waiting += [index for index in producer.inputs if not model.is_constant(index)]


def _add_what_it_scales(model: Model, root: Operation, chosen: set[Operation]) -> None:
    """Products and sums with a reciprocal root, up to the first values that are as many as what is normalised."""
    waiting: Sequence[int] = root.outputs
    while waiting:
        found: list[int] = []
        for user in _elementwise_users(model, waiting):
            if user not in chosen:
                chosen.add(user)
                found += [index for index in user.outputs if model.size(index) <= model.size(root.outputs[0])]
        waiting = found


def _elementwise_users(model: Model, tensors: Sequence[int]) -> Iterator[Operation]:
    for tensor in tensors:
        yield from (user for user in model.consumers[tensor] if user.name in _ELEMENTWISE)
