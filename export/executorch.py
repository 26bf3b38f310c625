"""ExecuTorch: a .pte program for the XNNPACK backend, in fp32 or static int8."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from distill.checkpoint import versions
from export.artifact.manifest import Delegation
from export.job import ExportedModel, ExportJob

MODEL_FILE = "model.pte"


def export(job: ExportJob) -> ExportedModel:
    """Write `model.pte`, lowered to XNNPACK, batch 1.

    Input float32 [1, C, H, W] in [0, 1], output logits float32 [1, classes]; int8 quantizes inside the graph. Whatever
    XNNPACK does not take is left to the portable kernels and counted in `delegation`.
    """
    static_int8 = job.precision == "int8"
    network = quantize(job) if static_int8 else job.model
    program = torch.export.export(network, (job.example,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (job.folder / MODEL_FILE).write_bytes(lowered.buffer)
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme="int8 weights per channel, int8 activations, static (PT2E, XNNPACK)" if static_int8 else "float32",
        calibrator="histogram" if static_int8 else None,
        delegation=count_delegation(lowered.executorch_program),
        versions=versions("executorch", "torch", "torchao"),
        # ExecuTorch promises that a later runtime loads it, so the writing version is a safe lower bound.
        minimum_runtime=f"executorch {versions('executorch')['executorch']}",
    )


def quantize(job: ExportJob) -> torch.nn.Module:
    """Static int8 by PT2E: symmetric per-channel weights; activation ranges from torchao's histogram observer."""
    graph = torch.export.export(job.model, (job.example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for image in torch.from_numpy(job.calibration).split(1):
            prepared(image)
    return convert_pt2e(prepared)


def count_delegation(program: Any) -> Delegation:
    """Count what the runtime will execute: calls into XNNPACK, and kernel calls outside of it by operator."""
    plan = program.execution_plan[0]
    pieces, kernels = 0, Counter[str]()
    for call in (instruction.instr_args for chain in plan.chains for instruction in chain.instructions):
        kind = type(call).__name__
        if kind == "DelegateCall":
            pieces += 1
        elif kind == "KernelCall":
            kernels[plan.operators[call.op_index].name] += 1
    return Delegation(backend="xnnpack", pieces=pieces, undelegated=dict(sorted(kernels.items())))
