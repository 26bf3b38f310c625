"""ExecuTorch without a backend: a .pte program of portable kernels in fp32, slow and taken by every build."""

from export.formats.executorch.program import capture, count_delegation, exported, write
from export.formats.job import ExportedModel, ExportJob


def export(job: ExportJob) -> ExportedModel:
    """Write `model.pte` for the kernels that every ExecuTorch runtime has.

    Input float32 [B, C, H, W] in [0, 1], output logits float32 [B, classes].
    """
    program, rewrites = capture(job.model, job, "portable")
    written = write(program, job, [])
    return exported(
        job, scheme="float32, portable kernels", delegation=count_delegation(written, "portable"), rewrites=rewrites
    )
