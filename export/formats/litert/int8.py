"""Integers for LiteRT: ai-edge-quantizer's kernels and rules, our ranges."""

import re
from collections.abc import Mapping
from typing import get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager

from distill.errors import WorkFailed
from export.artifact.manifest import PrecisionName
from export.artifact.runner import Batch
from export.formats.litert.floats import slower_in_integers, stay_float
from export.quantize.ranges import CalibratorName, Histogram
from export.quantize.recipe import OperationName, QuantizationRecipe

CALIBRATORS: tuple[CalibratorName, ...] = get_args(CalibratorName)
_EVERY = qtyping.TFLOperationName
_KINDS: dict[OperationName, tuple[qtyping.TFLOperationName, ...]] = {
    "hard-swish": (_EVERY.HARD_SWISH,),
    "multiply": (_EVERY.MUL,),
    "add": (_EVERY.ADD,),
    "pool": (_EVERY.MEAN, _EVERY.AVERAGE_POOL_2D),
    "concatenate": (_EVERY.CONCATENATION,),
}
OPERATIONS: tuple[OperationName, ...] = tuple(_KINDS)
LEVELS: dict[PrecisionName, int] = {"int8": 2**8, "int16x8": 2**16}
"""Of an activation; these precisions need ranges."""

_Algorithm = algorithm_manager.AlgorithmName


def observe(content: bytes, images: Batch) -> dict[str, Histogram]:
    """What every float activation of a .tflite model is on images [N, C, H, W], by tensor name.

    Images go in in batches of the model's size; a rest that does not fill one is left out.
    """
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    written = {index for operation in interpreter._get_ops_details() for index in operation["outputs"]}
    watched = [
        tensor
        for tensor in interpreter.get_tensor_details()
        if tensor["index"] in written | {entry["index"]} and tensor["dtype"] == np.float32
    ]
    seen = {tensor["name"]: Histogram() for tensor in watched}
    batch = int(entry["shape"][0])
    for start in range(0, len(images) - batch + 1, batch):
        interpreter.set_tensor(entry["index"], images[start : start + batch])
        interpreter.invoke()
        for tensor in watched:
            seen[tensor["name"]].add(interpreter.get_tensor(tensor["index"]))
    return seen


def quantize(
    content: bytes, precision: PrecisionName, recipe: QuantizationRecipe, seen: Mapping[str, Histogram] | None
) -> bytes:
    """A float .tflite model in another precision; its input and output stay float32.

    Args:
        content: the model; not changed.
        precision: any but fp32.
        recipe: checked; without effect on fp16.
        seen: of every activation, for precisions with static ranges.

    Raises:
        WorkFailed: no operation of the model belongs to one of the recipe's float layers.
    """
    work = quantizer.Quantizer(content, _rules(content, precision, recipe))
    ranges: dict[str, qtyping.QSV] | None = None
    if seen is not None:
        ranges = {name: _range(values, recipe, precision) for name, values in seen.items()}
    quantized = work.quantize(ranges, enable_progress_report=False).quantized_model
    assert quantized is not None, "ai-edge-quantizer raises where it fails"
    return bytes(quantized)


def _range(values: Histogram, recipe: QuantizationRecipe, precision: PrecisionName) -> qtyping.QSV:
    low, high = recipe.range_of(values, levels=LEVELS[precision])
    return {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}


def _rules(content: bytes, precision: PrecisionName, recipe: QuantizationRecipe) -> qtyping.ModelQuantizationRecipe:
    """Precision and recipe in the quantizer's words; of two rules for one operation the later one counts."""
    rules = RecipeManager()
    granularity = qtyping.QuantGranularity.CHANNELWISE if recipe.per_channel else qtyping.QuantGranularity.TENSORWISE
    if precision == "fp16":
        rules.add_weight_only_config(".*", _EVERY.ALL_SUPPORTED, num_bits=16, algorithm_key=_Algorithm.FLOAT_CASTING)
    elif precision == "int8-weights":
        rules.add_weight_only_config(".*", _EVERY.ALL_SUPPORTED, num_bits=8, granularity=granularity)
    elif precision == "int8-dynamic":
        rules.add_dynamic_config(".*", _EVERY.ALL_SUPPORTED, num_bits=8, granularity=granularity)
    else:
        bits = LEVELS[precision].bit_length() - 1
        rules.add_static_config(
            ".*", _EVERY.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8, weight_granularity=granularity
        )
        floats = [kind for name in recipe.float_operations for kind in _KINDS[name]]
        for kind in (_EVERY.INPUT, _EVERY.OUTPUT, *floats):
            rules.add_quantization_config(".*", kind, algorithm_key=_Algorithm.NO_QUANTIZE)
        # In 16 bits XNNPACK takes nothing, so there is no piece to keep whole.
        slower = slower_in_integers(content) if precision == "int8" else []
        for result in (*stay_float(content), *slower):
            _leave_in_float(rules, result)
    for layer in recipe.float_layers:
        for result in results_of(content, layer):
            _leave_in_float(rules, result)
    return rules.get_quantization_recipe()


def _leave_in_float(rules: RecipeManager, result: str) -> None:
    rules.add_quantization_config(re.escape(result) + ";", _EVERY.ALL_SUPPORTED, algorithm_key=_Algorithm.NO_QUANTIZE)


def results_of(content: bytes, layer: str) -> list[str]:
    """Names of the results of a module's operations, by which the quantizer knows an operation.

    The converter names a tensor by a path with one `Class_attribute` per module, and joins the names of what it fused.
    An operation belongs to the module if its result or its weights do: the model's own result has another name.

    Raises:
        WorkFailed: there is no such operation.
    """
    path = "/".join(f"[^/;]*_{re.escape(part)}" for part in layer.split("."))
    expression = re.compile(f"/{path}(/|;|$)")
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    operations = interpreter._get_ops_details()
    written = {index for operation in operations for index in operation["outputs"]}
    results: list[str] = []
    for operation in operations:
        own = [*operation["outputs"], *(index for index in operation["inputs"] if index not in written)]
        if any(expression.search(names.get(index, "")) for index in own):
            results.append("".join(names[index] for index in operation["outputs"]))
    if not results:
        raise WorkFailed(f"no operation of the converted model says that it belongs to {layer!r}; name another layer.")
    return results
