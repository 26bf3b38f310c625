"""Core ML: an ML Program (.mlpackage), in fp32 or with int8 weights. Can be written, not run, without a Mac."""

from typing import Any, cast

import coremltools as ct
import numpy as np
import torch
from coremltools.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig, linear_quantize_weights

from distill.checkpoint import versions
from distill.errors import WorkFailed
from export.job import ExportedModel, ExportJob

MODEL_FOLDER = "model.mlpackage"
INPUT, OUTPUT = "images", "logits"


def export(job: ExportJob) -> ExportedModel:
    """Write `model.mlpackage` for iOS 16 and later.

    Input "images" float32 [1, C, H, W] in [0, 1], output "logits" float32 [1, classes]. int8 = per-channel weights,
    computed in float16, as the Neural Engine does; weights of up to 2,048 elements stay float.

    Raises:
        WorkFailed: the converter named input or output differently, so the manifest would be wrong.
    """
    int8 = job.precision == "int8"
    model = convert(job, ct.precision.FLOAT16 if int8 else ct.precision.FLOAT32)
    if int8:
        weights = OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity="per_channel")
        model = cast(Any, linear_quantize_weights(model, OptimizationConfig(weights)))
    check_names(model)
    package = job.folder / MODEL_FOLDER
    model.save(str(package))
    # A debugging aid for models inside ExecuTorch; not a part of the package that Core ML reads.
    (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    files = sorted(path.relative_to(job.folder) for path in package.rglob("*") if path.is_file())
    return ExportedModel(
        files=tuple(files),
        scheme="int8 weights per channel, float16 activations" if int8 else "float32",
        input_name=INPUT,
        output_name=OUTPUT,
        versions=versions("coremltools", "torch"),
        minimum_runtime="iOS 16, macOS 13",
    )


def convert(job: ExportJob, compute_precision: Any) -> Any:
    """The model as ML Program.

    Goes through torch.export: coremltools 9 fails on traced channel shuffles with NumPy 2.
    """
    program = torch.export.export(job.model, (job.example,)).run_decompositions({})
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=compute_precision,
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
    )


def check_names(model: Any) -> None:
    """Raise WorkFailed unless the model's input and output are called as its manifest will say."""
    description = model.get_spec().description
    found = ([entry.name for entry in description.input], [entry.name for entry in description.output])
    if found != ([INPUT], [OUTPUT]):
        raise WorkFailed(f"coremltools wrote inputs and outputs {found}, expected {INPUT} and {OUTPUT}. Use version 9.")
