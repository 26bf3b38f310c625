"""Static int8 for ONNX Runtime: its own quantizer (QDQ), our ranges."""

import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

from export.artifact.runner import Batch
from export.formats.onnx.hard_swish import in_integers
from export.graph.layers import is_inside
from export.quantize import divisors, enlarged
from export.quantize.ranges import CalibratorName, Histogram
from export.quantize.recipe import OperationName, QuantizationRecipe
from export.quantize.steps import Kind, Step

CALIBRATORS: tuple[CalibratorName, ...] = get_args(CalibratorName)
_OPERATIONS: dict[OperationName, tuple[str, ...]] = {
    "hard-swish": ("HardSwish", "HardSigmoid"),
    "multiply": ("Mul",),
    "add": ("Add",),
    "pool": ("GlobalAveragePool", "AveragePool", "ReduceMean"),
    "concatenate": ("Concat",),
}
OPERATIONS: tuple[OperationName, ...] = tuple(_OPERATIONS)


_NEVER = ("InstanceNormalization",)
"""onnxruntime computes it in float anyway, and its quantizer fails where two share their constants (1.31), as all group
norms do that torch.onnx writes."""


def observe(model: onnx.ModelProto, images: Batch, *, input_name: str, batch: int) -> dict[str, Histogram]:
    """What every float activation of a model is on the images, by tensor name.

    Args:
        model: with the types of its activations in `value_info`.
        images: float32 [N, C, H, W]; a rest smaller than the batch is left out.
        input_name: of the model.
        batch: images per call.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    produced = {name for node in watched.graph.node for name in node.output}
    floats = [
        value
        for value in watched.graph.value_info
        if value.name in produced and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    watched.graph.output.extend(floats)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Fused operations would compute other bits than the model's own, and some tensors would not exist.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    seen = {name: Histogram() for name in (input_name, *names)}
    for start in range(0, len(images) - batch + 1, batch):
        part = np.ascontiguousarray(images[start : start + batch])
        seen[input_name].add(part)
        for name, values in zip(names, session.run(None, {input_name: part}), strict=True):
            seen[name].add(np.asarray(values))
    return seen


def quantize(
    model: onnx.ModelProto,
    seen: Mapping[str, Histogram],
    recipe: QuantizationRecipe,
    modules: Mapping[str, tuple[str, ...]],
) -> onnx.ModelProto:
    """A float model as static int8: uint8 activations, int8 weights, QuantizeLinear and DequantizeLinear between.

    The quantizer's own pre-processing is left out: it splits HardSwish in two and adds opsets that the model does not
    use.

    Args:
        model: in float; not changed.
        seen: of every activation, as `observe` gives it.
        recipe: checked.
        modules: dotted names of the modules of each node, by node name; `scopes` gives them.
    """
    ranges: dict[str, Any] = {
        name: tuple(np.float32(end) for end in recipe.range_of(values)) for name, values in seen.items()
    }
    with tempfile.TemporaryDirectory(prefix="onnx-int8-") as folder:
        cache, path = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, ranges), cache)
        quantize_static(
            model,
            path,
            None,
            calibration_cache_path=cache,
            quant_format=QuantFormat.QDQ,
            per_channel=recipe.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=float_nodes(model, recipe, modules),
        )
        quantized = onnx.load(path)
    if "hard-swish" not in recipe.float_operations:
        in_integers(quantized)
    return quantized


def float_nodes(
    model: onnx.ModelProto, recipe: QuantizationRecipe, modules: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Names of the nodes that a recipe leaves in float, and of those that integers break."""
    broken = broken_by_integers(model)
    kinds = {kind for name in recipe.float_operations for kind in _OPERATIONS[name]}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in kinds
        or node.op_type in _NEVER
        or node.name in broken
        or any(is_inside(module, recipe.float_layers) for module in modules.get(node.name, ()))
    ]


_KINDS: dict[str, Kind] = {
    "Div": "quotient",
    "Reciprocal": "root",
    "Resize": "resize",
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceL2", "ReduceL1", "ReduceMax", "ReduceMin"), "reduction"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Neg", "Reshape", "Expand", "Transpose"), "elementwise"),
    **dict.fromkeys(("Conv", "Gemm", "MatMul", "ConvTranspose"), "weighted"),
}


def broken_by_integers(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that divide by something computed, of those that only they need, and that enlarge answers."""
    nodes = list(model.graph.node)
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in nodes if node.op_type == "Constant" for name in node.output}
    shapes = {
        value.name: prod(max(1, side.dim_value) for side in value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.output)
    }
    steps = [
        Step(number, _KINDS.get(node.op_type, "other"), tuple(node.input), tuple(node.output))
        for number, node in enumerate(nodes)
    ]
    found = divisors.stay_float(steps, lambda name: name in constants or not name, lambda name: shapes.get(name, 0))
    found |= enlarged.stay_float(steps)
    return {nodes[number].name for number in found}


def scopes(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Dotted names of the modules each node comes from, by node name, as torch's exporter noted them in the file.

    A convolution with a batch normalisation folded into it is noted as the latter's; its weight tells the former.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    modules: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        noted: dict[str, str] = {entry.key: entry.value for entry in node.metadata_props}
        names = _parts(noted.get("pkg.torch.onnx.name_scopes", ""))
        # The last name is the operation itself, the one before it the module.
        scope = names[-2] if len(names) > 1 else ""
        owners = [name.split(".weight")[0] for name in node.input if name in weights and ".weight" in name]
        modules[node.name] = (scope, *owners)
    return modules


def _parts(text: str) -> list[str]:
    """The strings of a list printed by Python."""
    return [part.strip().strip("'\"") for part in text.strip("[]").split(",")] if text else []
