"""ExecuTorch with the XNNPACK backend: a .pte program in fp32, fp16 or static int8."""

import copy

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

from export.formats.executorch.int8 import CALIBRATORS, OPERATIONS, quantize
from export.formats.executorch.program import Half, capture, count_delegation, exported, write
from export.formats.job import ExportedModel, ExportJob
from export.quantize.recipe import QuantizationRecipe, check_recipe

RECIPE = QuantizationRecipe(calibrator="mse")
"""Swept on MobileNetV3-Small only, on training images not used for calibration: its logits move as little as with
percentile 99.99, and less than with min-max. The other students were measured with this one recipe."""


def export(job: ExportJob) -> ExportedModel:
    """Write `model.pte`, lowered to XNNPACK.

    Input float32 [B, C, H, W] in [0, 1], output logits float32 [B, classes]; fp16 and int8 convert inside the graph.
    Whatever XNNPACK does not take is left to the portable kernels and counted in `delegation`. Two exports of the same
    inputs are byte-identical.

    Raises:
        UsageError: a recipe that cannot be followed.
    """
    if job.precision == "int8":
        return _static_int8(job)
    half = job.precision == "fp16"
    model = Half(copy.deepcopy(job.model)).eval() if half else job.model
    program, rewrites = capture(model, job, "xnnpack")
    written = write(program, job, [XnnpackPartitioner()])
    return exported(
        job,
        scheme="float16 between float32 input and output" if half else "float32",
        delegation=count_delegation(written, "xnnpack"),
        rewrites=rewrites,
    )


def _static_int8(job: ExportJob) -> ExportedModel:
    recipe = job.recipe or RECIPE
    check_recipe(recipe, job.model, format="executorch", calibrators=CALIBRATORS, operations=OPERATIONS)
    program, rewrites = capture(job.model, job, "xnnpack")
    quantized = quantize(program, recipe, job.calibration)
    written = write(torch.export.export(quantized, (job.example,)), job, [XnnpackPartitioner()])
    weights = "per channel" if recipe.per_channel else "per tensor"
    return exported(
        job,
        scheme=f"int8 weights {weights}, int8 activations, static (PT2E, XNNPACK)",
        calibrator=recipe.calibrator_words,
        recipe=recipe.as_json(),
        delegation=count_delegation(written, "xnnpack"),
        rewrites=rewrites,
    )
