"""ONNX: one self-contained file at a conservative opset, in fp32, fp16 or static int8 (QDQ)."""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16

from distill.checkpoint import versions
from distill.errors import WorkFailed
from export.formats.job import ExportedModel, ExportJob
from export.formats.onnx.int8 import CALIBRATORS, OPERATIONS, observe, quantize, scopes
from export.quantize.kept import Kept
from export.quantize.ranges import Histogram
from export.quantize.recipe import QuantizationRecipe, check_recipe

MODEL_FILE = "model.onnx"
INPUT, OUTPUT = "images", "logits"
OPSET = 18
IR_VERSION = 8
"""Opset 18 with IR 8 is what ONNX 1.13 defined; ONNX Runtime reads it from 1.14 on, older mobile builds included."""

RECIPE = QuantizationRecipe(calibrator="mse")
"""Swept on MobileNetV3-Small only, on training images not used for calibration: its logits move as little as with
percentile 99.99, and less than with min-max. The other students were measured with this one recipe."""


@dataclass(frozen=True)
class FloatModel:
    """The converted model in fp32, and the torch modules of each of its nodes by node name."""

    model: onnx.ModelProto
    modules: Mapping[str, tuple[str, ...]]


_float_models = Kept[FloatModel]()
_observations = Kept[dict[str, Histogram]]()


def export(job: ExportJob) -> ExportedModel:
    """Write `model.onnx`: opset 18, no external data, nothing in it that tells where it was made.

    Input "images" float32 [B, C, H, W] in [0, 1], output "logits" float32 [B, classes]; fp16 and int8 convert inside
    the graph. int8 has uint8 activations and int8 weights. Two exports of the same inputs are byte-identical. The job's
    metadata are in `metadata_props`, which ONNX Runtime shows as `custom_metadata_map`.

    Raises:
        UsageError: a recipe that cannot be followed.
        WorkFailed: the exporter silently chose another opset.
    """
    if job.precision == "int8":
        return _static_int8(job)
    model = onnx.ModelProto()
    model.CopyFrom(float_model(job).model)
    if job.precision == "fp16":
        model = convert_float_to_float16(model, keep_io_types=True)
    write(model, job)
    return _exported(job, "float16 between float32 input and output" if job.precision == "fp16" else "float32")


def _static_int8(job: ExportJob) -> ExportedModel:
    recipe = job.recipe or RECIPE
    check_recipe(recipe, job.model, format="onnx", calibrators=CALIBRATORS, operations=OPERATIONS)
    converted = float_model(job)
    write(quantize(converted.model, observations(job), recipe, converted.modules), job)
    weights = "per channel" if recipe.per_channel else "per tensor"
    return _exported(
        job,
        f"int8 weights {weights}, uint8 activations, static (QDQ)",
        calibrator=recipe.calibrator_words,
        recipe=recipe.as_json(),
    )


def _exported(job: ExportJob, scheme: str, **more: Any) -> ExportedModel:
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme=scheme,
        input_name=INPUT,
        output_name=OUTPUT,
        batch=job.batch,
        versions=versions("onnx", "onnxruntime", "onnxscript", "torch"),
        minimum_runtime="onnxruntime 1.14",
        **more,
    )


def float_model(job: ExportJob) -> FloatModel:
    """The model in fp32, converted once for all precisions and recipes. Do not change it."""
    return _float_models.get(job.model, _key(job), lambda: to_onnx(job))


def observations(job: ExportJob) -> dict[str, Histogram]:
    """The values of every activation on the calibration images, observed once for all recipes."""
    images, batch = job.calibration, 1 if job.dynamic_batch else job.batch
    key = (_key(job), hashlib.sha256(images.tobytes()).hexdigest())
    model = float_model(job).model
    return _observations.get(job.model, key, lambda: observe(model, images, input_name=INPUT, batch=batch))


def _key(job: ExportJob) -> Hashable:
    return (job.batch, job.model.temperature)


def to_onnx(job: ExportJob) -> FloatModel:
    """The model as ONNX, checked, without metadata."""
    program = torch.onnx.export(
        job.model,
        (job.example,),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},) if job.dynamic_batch else None,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns a program when it is given no file"
    model = program.model_proto
    modules = scopes(model)
    strip(model)
    global_pools(model)
    keep_pads(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return FloatModel(model, modules)


def global_pools(model: onnx.ModelProto) -> None:
    """Mean over height and width of [B, C, H, W] -> GlobalAveragePool, the same sum; ReduceMean has no integer form."""
    graph = model.graph
    axes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.dims == [2]}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or ranks.get(node.input[0]) != 4:
            continue
        keeps = {attribute.name: attribute.i for attribute in node.attribute}.get("keepdims", 1)
        if keeps and sorted(int(axis) % 4 for axis in axes.get(node.input[1], ())) == [2, 3]:
            node.op_type = "GlobalAveragePool"
            del node.input[1]
            del node.attribute[:]


def keep_pads(model: onnx.ModelProto) -> None:
    """Zeros around what a max pool takes -> the smallest number above zero.

    onnxruntime 1.31 makes zeros part of the pool, whose own padding is minus infinity: where all of a window's values
    at a border are negative, the answer is another one. Of other numbers it leaves the padding alone.
    """
    graph = model.graph
    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled:
            continue
        mode = {attribute.name: attribute.s for attribute in node.attribute}.get("mode", b"constant")
        value = values.get(node.input[2]) if len(node.input) > 2 else None
        is_float = value is None or value.data_type == onnx.TensorProto.FLOAT
        if mode != b"constant" or not is_float or (value is not None and onnx.numpy_helper.to_array(value).any()):
            continue
        name = f"{node.output[0]}_padding"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(np.finfo(np.float32).tiny), name))
        del node.input[2:3]
        node.input.insert(2, name)


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter noted for its own debugging: stack traces with the paths of the machine."""
    graph = model.graph
    graph.doc_string = ""
    parts: list[Any] = [model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""


def write(model: onnx.ModelProto, job: ExportJob) -> None:
    """Write `model.onnx` with the job's metadata; raises WorkFailed if a tool changed the opset on the way.

    The shapes between operations stay out: a runtime infers them when it loads, and they are a hundredth of the bytes
    of a small int8 model.
    """
    strip(model)
    del model.graph.value_info[:]
    check_opset(model)
    onnx.helper.set_model_props(model, job.metadata())
    onnx.save(model, job.folder / MODEL_FILE)


def check_opset(model: onnx.ModelProto) -> None:
    """Raise WorkFailed unless the file needs exactly the opset that was asked for."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise WorkFailed(
            f"the ONNX exporter was asked for opset {OPSET} and wrote {opsets}; mobile runtimes may refuse that. "
            "Use the torch, onnx and onnxruntime versions of requirements.lock."
        )
