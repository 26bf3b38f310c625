"""A .tflite flatbuffer as a file: strings in its metadata, where the runtime's own notes lie too, and its tensors."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
BIAS = 2
"""Its place among the inputs of a matrix product."""


def with_metadata(content: bytes, entries: Mapping[str, str]) -> bytes:
    """The same model with one metadata entry per string (UTF-8, no terminator); an entry of that name is replaced.

    ai-edge-quantizer keeps weights behind the flatbuffer, where only newer runtimes look; here they come back
    into it, each at a multiple of 16 bytes, as XNNPACK likes to read them.
    """
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    buffers = [_AlignedBuffer(_bytes_of(buffer, content)) for buffer in model.buffers]
    kept = [entry for entry in model.metadata or [] if entry.name.decode() not in entries]
    for name, text in entries.items():
        buffers.append(_AlignedBuffer(text.encode()))
        entry: Any = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(buffers) - 1
        kept.append(entry)
    model.buffers, model.metadata = buffers, kept
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = short_name(tensor.name.decode()).encode()
    return packed(model, len(content))


def with_flat_biases(content: bytes) -> bytes:
    """The same float model with the biases of matrix products as vectors; the very bytes if they are.

    litert-torch writes [1, 1, 1, N] where it takes a factor per channel (a layer scale) into a product;
    ai-edge-quantizer gives that N scales along the first dimension, which is 1, and no runtime loads it.
    """
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    changed = False
    for graph in model.subgraphs:
        biases: set[int] = set()
        others: set[int] = set()
        for operation in graph.operators:
            code = model.operatorCodes[operation.opcodeIndex]
            is_product = code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
            for place, index in enumerate(operation.inputs):
                (biases if is_product and place == BIAS else others).add(int(index))
        for index in biases - others - {-1}:
            tensor = graph.tensors[index]
            if len(tensor.shape) > 1 and model.buffers[tensor.buffer].data is not None:
                tensor.shape, tensor.shapeSignature = [prod(int(side) for side in tensor.shape)], None
                changed = True
    if not changed:
        return content
    model.buffers = [_AlignedBuffer(_bytes_of(buffer, content)) for buffer in model.buffers]
    return packed(model, len(content))


def packed(model: Any, size_bytes: int) -> bytes:
    """A model as a file; `size_bytes` is about how long it will be."""
    builder = _SharingBuilder(size_bytes + 4096)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def short_name(name: str) -> str:
    """A tensor's name as the module it comes from, e.g. "network.features.0"; a name of another kind as it is.

    The converter writes one `package.Class_attribute` per module, for every operation that was fused: a tenth of the
    bytes of a small int8 model.
    """
    first = name.split(";")[0]
    if "/" not in first:
        return name if ";" not in name else first
    parts = [part.rsplit(".", 1)[-1].split("_", 1) for part in first.split("/")]
    return ".".join(part[1] for part in parts if len(part) == 2)


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors of numbers and equal strings once and points to them from everywhere, as the format allows.

    Every layer has a scale and an eight-byte zero point per channel, for its weights and again for its biases, and
    nearly all zero points are zero: shared, they save a tenth of the bytes of a small int8 model.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:
        """Offset of a vector; called by the generated `Pack` of every table."""
        return self._once((x.dtype.str, x.tobytes()), lambda: super(_SharingBuilder, self).CreateNumpyVector(x))

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Offset of a string, as above."""
        content = s if isinstance(s, bytes) else s.encode(encoding, errors)
        return self._once(("", content), lambda: super(_SharingBuilder, self).CreateString(content))

    def _once(self, key: tuple[str, bytes], write: Callable[[], int]) -> int:
        if key not in self._written:
            self._written[key] = write()
        return self._written[key]


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes begin at a multiple of 16, as the schema demands and its Python code forgets."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def Pack(self, builder: Any) -> Any:
        """Write the bytes, then the table that points to them; called by the model's own `Pack`."""
        vector = None
        if self._content:
            builder.StartVector(1, len(self._content), ALIGNMENT)
            builder.head -= len(self._content)
            builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _bytes_of(buffer: Any, content: bytes) -> bytes:
    """A buffer's bytes, in the flatbuffer or behind it (then `offset` is more than the marker 1)."""
    if buffer.offset > 1:
        return content[buffer.offset : buffer.offset + buffer.size]
    return b"" if buffer.data is None else bytes(buffer.data)


def noted(content: bytes, name: str) -> str | None:
    """One entry as text; None if there is none or it is empty."""
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for entry in model.metadata or []:
        if entry.name == name.encode():
            return _bytes_of(model.buffers[entry.buffer], content).rstrip(b"\0").decode() or None
    return None
