"""ExecuTorch with the Vulkan backend: a .pte program for the GPU of a phone, in fp32 or fp16."""

from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

from export.formats.executorch.program import capture, count_delegation, exported, write
from export.formats.job import ExportedModel, ExportJob


def export(job: ExportJob) -> ExportedModel:
    """Write `model.pte`, lowered to Vulkan; it cannot run without a Vulkan build of the runtime.

    Input float32 [B, C, H, W] in [0, 1], output logits float32 [B, classes]. fp16 computes and keeps weights in float16
    on the GPU; the numbers in the file stay float32.
    """
    half = job.precision == "fp16"
    program, rewrites = capture(job.model, job, "vulkan")
    written = write(program, job, [VulkanPartitioner({"force_fp16": half})])
    return exported(
        job,
        scheme="float32 in the file, float16 on the GPU" if half else "float32",
        delegation=count_delegation(written, "vulkan"),
        rewrites=rewrites,
    )
