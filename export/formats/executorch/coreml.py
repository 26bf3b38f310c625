"""ExecuTorch with the Core ML backend: a .pte program for Apple devices, in fp32 or fp16."""

import coremltools as ct
from executorch.backends.apple.coreml.compiler import CoreMLBackend
from executorch.backends.apple.coreml.partition import CoreMLPartitioner

from export.formats.executorch.program import capture, count_delegation, exported, write
from export.formats.job import ExportedModel, ExportJob


def export(job: ExportJob) -> ExportedModel:
    """Write `model.pte`, lowered to Core ML for iOS 16 and later; it runs on Apple devices only.

    Input float32 [B, C, H, W] in [0, 1], output logits float32 [B, classes].
    """
    half = job.precision == "fp16"
    settings = CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    )
    program, rewrites = capture(job.model, job, "coreml")
    written = write(program, job, [CoreMLPartitioner(compile_specs=settings)])
    return exported(
        job,
        scheme="float16" if half else "float32",
        delegation=count_delegation(written, "coreml"),
        rewrites=rewrites,
    )
