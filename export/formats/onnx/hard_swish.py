"""Hard swish and hard sigmoid of a quantized ONNX model, in integers.

ONNX Runtime has no integer kernels for them: each becomes four float passes between two conversions, and an int8
MobileNetV3 is slower than its fp32 form. Both are a saturating sum, h(x) = min(max(x / 6 + 1/2, 0), 1), and hard swish
multiplies it with x. Read with a sixth of its scale an integer tensor is x / 6 without any work, and a sum that is
quantized to the range [0, 1] saturates by itself; what is left are one integer addition and one integer product.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIXTH = np.float32(1 / 6)
GATE_SCALE, GATE_ZERO, HALF_SCALE, HALF = "gate_scale", "gate_zero_point", "half_scale", "half"


def in_integers(model: onnx.ModelProto) -> int:
    """Replace every HardSwish and HardSigmoid that stands between integer tensors, in place; returns how many.

    A hard sigmoid of other slopes (`alpha`, `beta`) than torch's is left as it is.
    """
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    added: dict[int, list[onnx.NodeProto]] = {}
    for index, node in enumerate(graph.node):
        source = producers.get(node.input[0]) if node.op_type in ("HardSwish", "HardSigmoid") else None
        users = [user for user in graph.node if node.output and node.output[0] in user.input]
        if source is None or source.op_type != "DequantizeLinear" or [u.op_type for u in users] != ["QuantizeLinear"]:
            continue
        if node.op_type == "HardSigmoid" and not _is_torch_hard_sigmoid(node):
            continue
        scale = numpy_helper.to_array(constants[source.input[1]]) * SIXTH
        added[index] = _parts(graph, node, source, scale)
        if node.op_type == "HardSigmoid":
            _saturate(graph, users[0])
    if added:
        _add_constants(graph)
        nodes = [part for index, node in enumerate(graph.node) for part in added.get(index, [node])]
        del graph.node[:]
        graph.node.extend(nodes)
        _drop_unread(graph)
    return len(added)


def _parts(
    graph: onnx.GraphProto, node: onnx.NodeProto, source: onnx.NodeProto, scale: np.ndarray
) -> list[onnx.NodeProto]:
    """The nodes that take the place of one, with its output."""
    name, output = node.name, node.output[0]
    graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_sixth_scale"))
    sixth, half, total = f"{name}_sixth", f"{name}_half", f"{name}_sum"
    is_gate = node.op_type == "HardSigmoid"
    parts = [
        helper.make_node("DequantizeLinear", [source.input[0], f"{name}_sixth_scale", source.input[2]], [sixth], sixth),
        helper.make_node("DequantizeLinear", [HALF, HALF_SCALE, GATE_ZERO], [half], half),
        helper.make_node("Add", [sixth, half], [output if is_gate else total], total),
    ]
    if is_gate:
        return parts
    quantized, gate = f"{name}_gate_quantized", f"{name}_gate"
    return [
        *parts,
        helper.make_node("QuantizeLinear", [total, GATE_SCALE, GATE_ZERO], [quantized], quantized),
        helper.make_node("DequantizeLinear", [quantized, GATE_SCALE, GATE_ZERO], [gate], gate),
        helper.make_node("Mul", [node.input[0], gate], [output], name),
    ]


def _saturate(graph: onnx.GraphProto, quantize: onnx.NodeProto) -> None:
    """Quantize to [0, 1] exactly, here and wherever the result is read."""
    for node in graph.node:
        if node is quantize or (node.op_type == "DequantizeLinear" and node.input[0] == quantize.output[0]):
            node.input[1], node.input[2] = GATE_SCALE, GATE_ZERO


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove conversions to float that nobody reads any more; ONNX Runtime would run them."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [node for node in graph.node if node.op_type != "DequantizeLinear" or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(kept)


def _add_constants(graph: onnx.GraphProto) -> None:
    values = {
        GATE_SCALE: np.array(1 / 255, np.float32),
        GATE_ZERO: np.array(0, np.uint8),
        HALF_SCALE: np.array(0.5, np.float32),
        HALF: np.array(1, np.uint8),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())


def _is_torch_hard_sigmoid(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute.f for attribute in node.attribute}
    return bool(np.isclose(attributes.get("alpha", 0.2), 1 / 6) and np.isclose(attributes.get("beta", 0.5), 0.5))
