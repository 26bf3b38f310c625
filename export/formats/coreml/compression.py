"""Compression of ML Programs with coremltools.optimize: weights alone, or weights and activations."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.models.utils import _apply_graph_pass  # pyright: ignore[reportPrivateUsage]
from coremltools.optimize.coreml import (
    OpLinearQuantizerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
    palettize_weights,
)

from export.artifact.mil.interpreter import Interpreter
from export.artifact.mil.program import Program, Reference, read_program
from export.artifact.runner import Batch
from export.quantize.ranges import Histogram
from export.quantize.recipe import OperationName, QuantizationRecipe

FLOAT_OPERATIONS: dict[OperationName, tuple[str, ...]] = {"add": ("add",), "pool": ("avg_pool", "max_pool")}
"""Kinds that may stay in float, and what coremltools calls them; other kinds without weights always stay in float."""

Ranges = dict[str, dict[str, float]]
"""Least and greatest value by tensor, as coremltools keeps them."""


def int8_weights(model: Any, *, per_channel: bool = True) -> Any:
    """Weights as int8 with a scale per output channel or per tensor; what was compressed already is left."""
    granularity = "per_channel" if per_channel else "per_tensor"
    return cast("Any", linear_quantize_weights(model, OptimizationConfig(_symmetric_int8(granularity))))


def palette(model: Any, bits: int) -> Any:
    """Weights as indices into 2^bits values per tensor: exact one-dimensional k-means, or scikit-learn's seeded with 0
    for tensors of fewer than 10,000 elements.
    """
    config = OpPalettizerConfig(mode="kmeans", nbits=bits)
    return cast("Any", palettize_weights(model, OptimizationConfig(config)))


def int8_static(model: Any, images: Batch, input_name: str, recipe: QuantizationRecipe) -> Any:
    """Weights and activations as int8.

    coremltools finds ranges of activations by running the model, which takes a Mac, and keeps those of the last image
    only. Here our interpreter runs the saved float model on all of them; the graph passes are coremltools' own.

    Args:
        model: float16, for iOS 17 or later.
        images: float32 [N, C, H, W] in [0, 1].
        input_name: of the model.
        recipe: checked.
    """
    with tempfile.TemporaryDirectory(prefix="coreml-") as scratch:
        package = Path(scratch) / "float.mlpackage"
        model.save(str(package))
        program = read_program(package)
    ranges = shared_by_concatenation(program, activation_ranges(program, images, input_name, recipe))
    floats: Any = {kind: None for name in recipe.float_operations for kind in FLOAT_OPERATIONS[name]}
    config: Any = OptimizationConfig(_symmetric_int8("per_tensor"), op_type_configs=floats)
    options = [PassOption("config", config), PassOption("activation_stats", cast("Any", ranges))]
    passes = [PASS_REGISTRY[f"compression::insert_{place}_quantize_dequantize_pair"] for place in ("prefix", "suffix")]
    for each in passes:
        each.set_options(options)
    passes.append(PASS_REGISTRY["common::dequantize_quantize_pair_elimination"])
    return int8_weights(_apply_graph_pass(model, passes, skip_model_load=True), per_channel=recipe.per_channel)


def activation_ranges(program: Program, images: Batch, input_name: str, recipe: QuantizationRecipe) -> Ranges:
    """What to quantize each tensor of a program to, found on images; the last one fills up the last batch."""
    seen: dict[str, Histogram] = {}

    def count(name: str, value: torch.Tensor) -> None:
        seen.setdefault(name, Histogram()).add(value.numpy())

    interpreter, batch = Interpreter(program), program.inputs[0].type.shape[0]
    for start in range(0, len(images), batch):
        positions = np.minimum(np.arange(start, start + batch), len(images) - 1)
        interpreter.run({input_name: torch.from_numpy(images[positions])}, observe=count)
    ranges = {name: recipe.range_of(histogram) for name, histogram in seen.items()}
    return {name: {"rmin": low, "rmax": high} for name, (low, high) in ranges.items()}


def shared_by_concatenation(program: Program, ranges: Ranges) -> Ranges:
    """Give inputs and output of every `concat` one range, so that it can run on integers."""
    shared = dict(ranges)
    for group in _joined(_concatenated(program)):
        known = [ranges[name] for name in group if name in ranges]
        if known:
            widest = {"rmin": min(r["rmin"] for r in known), "rmax": max(r["rmax"] for r in known)}
            shared |= dict.fromkeys(group, widest)
    return shared


def _concatenated(program: Program) -> Iterable[set[str]]:
    for operation in program.operations:
        if operation.type == "concat":
            inputs = {value.name for value in operation.inputs["values"] if isinstance(value, Reference)}
            yield inputs | {output.name for output in operation.outputs}


def _joined(groups: Iterable[set[str]]) -> list[set[str]]:
    """Groups with a common member become one."""
    joined: list[set[str]] = []
    for group in groups:
        touching = [other for other in joined if other & group]
        joined = [other for other in joined if not other & group]
        joined.append(group.union(*touching))
    return joined


def _symmetric_int8(granularity: str) -> OpLinearQuantizerConfig:
    return OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity=granularity)
