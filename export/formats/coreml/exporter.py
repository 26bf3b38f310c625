"""Core ML: an ML Program (.mlpackage) in float, with compressed weights, or in int8. Needs no Mac."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import coremltools as ct
import numpy as np
import torch

from distill.checkpoint import versions
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import PrecisionName
from export.formats.coreml.compression import FLOAT_OPERATIONS, int8_static, int8_weights, palette
from export.formats.coreml.package import seal
from export.formats.job import ExportedModel, ExportJob
from export.graph.movements import drop_whole_selections
from export.graph.taken_apart import TAKEN_APART
from export.quantize.kept import Kept
from export.quantize.ranges import CalibratorName
from export.quantize.recipe import QuantizationRecipe, check_recipe

MODEL_FOLDER = "model.mlpackage"
INPUT, OUTPUT = "images", "logits"
INTERPRETED = (
    "Proven by an interpreter of ML Programs on another machine; the kernels of Core ML and of the Neural Engine were "
    "not tested."
)

Compress = Callable[[Any, ExportJob], Any]

_programs = Kept[torch.export.ExportedProgram]()


@dataclass(frozen=True)
class Conversion:
    """How a precision is reached.

    Attributes:
        scheme: for the manifest.
        compute: precision of activations.
        target: oldest system that has the operations it needs, and its name in words.
        compress: what is done to the float model; None = nothing.
    """

    scheme: str
    compute: Any
    target: Any = ct.target.iOS16
    minimum_runtime: str = "iOS 16, macOS 13"
    compress: Compress | None = None


def _palette(bits: int) -> Conversion:
    scheme = f"weights as {bits}-bit indices into one table of values each (k-means), float16 activations"
    return Conversion(scheme, ct.precision.FLOAT16, compress=lambda model, job: palette(model, bits))


CONVERSIONS: dict[PrecisionName, Conversion] = {
    "fp32": Conversion("float32", ct.precision.FLOAT32),
    "fp16": Conversion("float16, input and output float32", ct.precision.FLOAT16),
    "int8-weights": Conversion(
        "int8 weights per channel, float16 activations",
        ct.precision.FLOAT16,
        compress=lambda model, job: int8_weights(model),
    ),
    "int8": Conversion(
        "int8 weights, int8 activations around convolutions, matrix products, sums and pools, static; the rest float16",
        ct.precision.FLOAT16,
        ct.target.iOS17,
        "iOS 17, macOS 14",
        compress=lambda model, job: int8_static(model, job.calibration, INPUT, recipe_of(job)),
    ),
    "palette8": _palette(8),
    "palette6": _palette(6),
    "palette4": _palette(4),
}


def export(job: ExportJob) -> ExportedModel:
    """Write `model.mlpackage`.

    Input "images" float32 [1, C, H, W] in [0, 1], output "logits" float32 [1, classes]. Weights of up to 2,048 elements
    are not compressed.

    Raises:
        WorkFailed: the converter named input or output differently, so the manifest would be wrong.
    """
    conversion = CONVERSIONS[job.precision]
    recipe = checked_recipe(job)
    model = convert(job, conversion)
    if conversion.compress:
        model = conversion.compress(model, job)
    check_names(model)
    package = job.folder / MODEL_FOLDER
    model.save(str(package))
    return ExportedModel(
        files=seal(package, job.metadata()),
        scheme=conversion.scheme,
        versions=versions("coremltools", "torch"),
        input_name=INPUT,
        output_name=OUTPUT,
        batch=job.batch,
        calibrator=recipe.calibrator_words if recipe else None,
        recipe=recipe.as_json() if recipe else None,
        notes=() if sys.platform == "darwin" else (INTERPRETED,),
        minimum_runtime=conversion.minimum_runtime,
    )


def checked_recipe(job: ExportJob) -> QuantizationRecipe | None:
    """The recipe that an export follows; None where no activation is quantized.

    Raises:
        UsageError: it asks for what coremltools cannot do, or for something in a precision that has no choices.
    """
    if job.precision == "int8":
        recipe = recipe_of(job)
        operations = tuple(FLOAT_OPERATIONS)
        check_recipe(recipe, job.model, format="coreml", calibrators=get_args(CalibratorName), operations=operations)
        if recipe.float_layers:
            raise UsageError("coreml cannot leave single layers in float: its operations do not keep their names.")
        return recipe
    if job.recipe is not None and CONVERSIONS[job.precision].compress:
        raise UsageError(f"coreml {job.precision} quantizes weights alone, in one way; it takes no recipe.")
    return None


def recipe_of(job: ExportJob) -> QuantizationRecipe:
    """What was asked for, or the default: on MobileNetV3 the full range of activations costs a point of accuracy."""
    return job.recipe or QuantizationRecipe(calibrator="mse")


def convert(job: ExportJob, conversion: Conversion) -> Any:
    """The model as ML Program; all precisions share the program of PyTorch's that it is made from."""
    return ct.convert(
        _programs.get(job.model, job.batch, lambda: decomposed(job)),
        convert_to="mlprogram",
        minimum_deployment_target=conversion.target,
        compute_precision=conversion.compute,
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
    )


def decomposed(job: ExportJob) -> torch.export.ExportedProgram:
    """The model as PyTorch's own program of few operations.

    It goes through torch.export: coremltools 9 fails on traced channel shuffles with NumPy 2. Selections of everything,
    which GhostNet has, would come out of the decomposition as `alias`, which coremltools does not know.
    """
    program = torch.export.export(job.model, (job.example,))
    if drop_whole_selections(program.graph_module.graph):
        program.graph_module.recompile()
    return program.run_decompositions(dict(TAKEN_APART))


def check_names(model: Any) -> None:
    """Raise WorkFailed unless the model's input and output are called as its manifest will say."""
    description = model.get_spec().description
    names = ([entry.name for entry in description.input], [entry.name for entry in description.output])
    if names != ([INPUT], [OUTPUT]):
        raise WorkFailed(f"coremltools wrote inputs and outputs {names}, expected {INPUT} and {OUTPUT}. Use version 9.")
