"""An ML Program as plain records: operations, their inputs, and constants read from the package.

The protobuf messages are coremltools' own (`coremltools.proto`); whatever is not known here is refused by name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from coremltools.proto import MIL_pb2, Model_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from distill.errors import UsageError
from export.artifact.mil.blob import STORAGE, BlobFile, unpack
from export.artifact.mil.package import inside, model_file

OPSETS = ("CoreML5", "CoreML6", "CoreML7", "CoreML8")
"""iOS 15 to 18. The operations known here mean the same in all of them."""

COMPRESSED = "constexpr_"
"""How the type of an operation begins whose result is known when the model is loaded: compressed weights."""

_MODEL_PATH = "@model_path/"
_DTYPES = {
    "BOOL": "bool",
    "STRING": "string",
    "FLOAT16": "fp16",
    "FLOAT32": "fp32",
    **{name.upper(): name for name in STORAGE if "int" in name},
}
_CODES: Mapping[int, str] = {code: name for name, code in MIL_pb2.DataType.items()}
_LISTS: Mapping[str, tuple[str, ...]] = {
    "floats": ("fp32",),
    "ints": ("int32", "int16", "uint16", "int8", "uint8"),
    "bools": ("bool",),
    "strings": ("string",),
}
"""Which types a value written out in the program may have, by the protobuf field that holds it."""

Constant = NDArray[np.generic] | str


@dataclass(frozen=True)
class TensorType:
    """Type and shape of a value, e.g. fp16 [1, 3, 64, 64]; shape () is a single number."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Named:
    """A value that operations refer to by name."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: as in the MIL specification, e.g. "conv".
        inputs: by parameter, each a tuple of references or constants, nearly always of length one.
        outputs: what it defines, with the types it declares.
    """

    type: str
    inputs: Mapping[str, "tuple[Reference | Constant, ...]"]
    outputs: tuple[Named, ...]

    @property
    def name(self) -> str:
        """What people find it by in a viewer: its first output."""
        return self.outputs[0].name if self.outputs else "(no output)"


@dataclass(frozen=True)
class Reference:
    """The name of an input of the program or of an earlier operation's output."""

    name: str


@dataclass(frozen=True)
class Program:
    """A program in the order in which it runs; `constants` are those of its `const` operations, by name."""

    inputs: tuple[Named, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant] = field(repr=False)


def read_program(package: Path) -> Program:
    """Read the ML Program of an `.mlpackage` folder.

    Raises:
        UsageError: the package is incomplete, damaged or refers outside itself, or holds what is not known here.
    """
    path = model_file(package)
    model = cast("Any", Model_pb2.Model())
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UsageError(f"{path} is damaged: it cannot be parsed as a Core ML model. Export it again.") from error
    kind = model.WhichOneof("Type")
    functions = model.mlProgram.functions
    if kind != "mlProgram" or set(functions) != {"main"}:
        raise UsageError(f"{path} is a {kind} with functions {sorted(functions)}; expected an mlProgram with main.")
    return _Reader(path.parent).function(functions["main"])


class _Reader:
    """Turns protobuf messages into records; keeps the weight files of one program open while it does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs: dict[str, BlobFile] = {}

    def function(self, message: Any) -> Program:
        block = message.block_specializations.get(message.opset)
        if message.opset not in OPSETS or block is None:
            raise UsageError(f"operation set {message.opset!r} is unknown; known are {', '.join(OPSETS)}")
        constants: dict[str, Constant] = {}
        operations: list[Operation] = []
        for operation in block.operations:
            if operation.type == "const":
                name, value = self.constant(operation)
                constants[name] = value
            else:
                operations.append(self.operation(operation))
        inputs = tuple(self.named(entry) for entry in message.inputs)
        return Program(inputs, tuple(block.outputs), tuple(operations), constants)

    def operation(self, message: Any) -> Operation:
        if message.blocks:
            raise UsageError(f"operation {message.type} holds blocks; control flow is not known here")
        inputs = {name: tuple(map(self.binding, argument.arguments)) for name, argument in message.inputs.items()}
        if message.type.startswith(COMPRESSED):  # in operation sets before iOS 18, their inputs are attributes
            inputs |= {name: (self.value(value),) for name, value in message.attributes.items() if name != "name"}
        else:
            _refuse_others(message, {"name"})
        return Operation(message.type, inputs, tuple(self.named(output) for output in message.outputs))

    def constant(self, message: Any) -> tuple[str, Constant]:
        _refuse_others(message, {"name", "val"})
        if "val" not in message.attributes or len(message.outputs) != 1:
            raise UsageError("a const operation has no value, or not one output")
        return message.outputs[0].name, self.value(message.attributes["val"])

    def binding(self, message: Any) -> Reference | Constant:
        return Reference(message.name) if message.WhichOneof("binding") == "name" else self.value(message.value)

    def value(self, message: Any) -> Constant:
        tensor = _tensor_type(message.type)
        if message.WhichOneof("value") == "blobFileValue":
            return self.blob(message.blobFileValue, tensor)
        immediate = message.immediateValue
        if immediate.WhichOneof("value") != "tensor":
            raise UsageError(f"a constant of kind {immediate.WhichOneof('value')} is not known here")
        return _immediate(immediate.tensor, tensor)

    def blob(self, message: Any, tensor: TensorType) -> Constant:
        name = message.fileName.removeprefix(_MODEL_PATH)
        if name == message.fileName:
            raise UsageError(f"weights are referred to by {name!r}; expected a path beginning with {_MODEL_PATH}")
        if tensor.dtype not in STORAGE:
            raise UsageError(f"weights of type {tensor.dtype} are not known here")
        if name not in self._blobs:
            self._blobs[name] = BlobFile(inside(self._folder, name))
        return self._blobs[name].read(message.offset, tensor.dtype, math.prod(tensor.shape)).reshape(tensor.shape)

    def named(self, message: Any) -> Named:
        return Named(message.name, _tensor_type(message.type))


def _refuse_others(message: Any, known: set[str]) -> None:
    unknown = set(message.attributes) - known
    if unknown:
        raise UsageError(f"operation {message.type} has the unknown attribute {', '.join(sorted(unknown))}")


def _tensor_type(message: Any) -> TensorType:
    kind = message.WhichOneof("type")
    if kind != "tensorType":
        raise UsageError(f"a value of {kind} is not known here; expected a tensor")
    tensor = message.tensorType
    code = _CODES.get(tensor.dataType, str(tensor.dataType))
    if code not in _DTYPES:
        raise UsageError(f"tensor type {code} is not known here")
    sizes = [size.constant.size if size.WhichOneof("dimension") == "constant" else -1 for size in tensor.dimensions]
    if -1 in sizes:
        raise UsageError("a tensor has a size that is known only at run time; such programs are not known here")
    return TensorType(_DTYPES[code], tuple(sizes))


def _immediate(message: Any, tensor: TensorType) -> Constant:
    kind = message.WhichOneof("value")
    count = math.prod(tensor.shape)
    if kind == "bytes":
        if tensor.dtype not in STORAGE:
            raise UsageError(f"a constant of type {tensor.dtype} cannot be given as bytes")
        return unpack(message.bytes.values, tensor.dtype, count).reshape(tensor.shape)
    if tensor.dtype not in _LISTS.get(kind, ()):
        raise UsageError(f"a constant of type {tensor.dtype} given as {kind} is not known here")
    values = getattr(message, kind).values
    if len(values) != count:
        raise UsageError(f"a constant of shape {list(tensor.shape)} has {len(values)} values")
    if tensor.dtype == "string":
        if tensor.shape:
            raise UsageError("a tensor of strings is not known here; expected a single string")
        return str(values[0])
    to_array: Callable[..., NDArray[np.generic]] = np.array
    return to_array(values, dtype=np.bool_ if tensor.dtype == "bool" else STORAGE[tensor.dtype].dtype).reshape(
        tensor.shape
    )
