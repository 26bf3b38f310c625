"""Operations of a converted model that stay in float, whatever the recipe says: integers break them or cost time."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.quantize import divisors, enlarged
from export.quantize.steps import Kind, Step

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("DIV", "FLOOR_DIV"), "quotient"),
    "RSQRT": "root",
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), "resize"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "reduction"),
    **dict.fromkeys(("ADD", "SUB", "MUL", "RESHAPE", "NEG", "BROADCAST_TO", "TRANSPOSE"), "elementwise"),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"), "weighted"),
}
_OF_ONE_SCALE = {"CONCATENATION", "PACK", "SELECT", "SELECT_V2", "DYNAMIC_UPDATE_SLICE"}
"""ai-edge-quantizer gives all inputs the scale of the output, in the rank of that, and then refuses constants."""

_TAKEN_IN_FLOAT = {"GELU", "SOFTMAX", "BATCH_MATMUL"}
"""XNNPACK takes these in float alone (ai-edge-litert 2.3.0). In integers each cuts the graph in two and runs in a
kernel of the runtime's own: ViT-Tiny in 73 parts took 2.8 times as long as in one, LeViT-128s 2.2 times."""


@dataclass(frozen=True)
class Operation:
    """One operation of a converted model; `inputs` and `outputs` are numbers of tensors."""

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
                str(each["op_name"]),
                tuple(int(index) for index in each["inputs"] if index >= 0),
                tuple(int(index) for index in each["outputs"]),
            )
            for each in interpreter._get_ops_details()
        ]
        self._computed = {index for each in self.operations for index in each.outputs}
        self._computed |= {int(each["index"]) for each in interpreter.get_input_details()}

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
        return tensor not in self._computed


def stay_float(content: bytes) -> list[str]:
    """Results of the operations that integers break, in the order of execution."""
    model = Model(content)
    steps = [
        Step(number, _KINDS.get(each.name, "other"), each.inputs, each.outputs)
        for number, each in enumerate(model.operations)
    ]
    chosen = divisors.stay_float(steps, model.is_constant, model.size) | enlarged.stay_float(steps)
    return [
        model.result(each)
        for number, each in enumerate(model.operations)
        if number in chosen or (each.name in _OF_ONE_SCALE and _takes_a_constant(model, each))
    ]


def slower_in_integers(content: bytes) -> list[str]:
    """Results of operations that XNNPACK takes in float alone, in the order of execution; no products of weights."""
    model = Model(content)
    return [
        model.result(each)
        for each in model.operations
        if each.name in _TAKEN_IN_FLOAT and not any(model.is_constant(index) for index in each.inputs)
    ]


def _takes_a_constant(model: Model, operation: Operation) -> bool:
    return any(model.is_constant(index) and model.is_float(index) for index in operation.inputs)
