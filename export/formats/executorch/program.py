"""What the ExecuTorch exporters share: capturing the model, lowering it to a backend, writing the .pte."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from distill.checkpoint import versions
from export.artifact.manifest import Delegation
from export.formats.job import ExportedModel, ExportJob
from export.graph.rewrites import Backend, Rewritten, rewrite

MODEL_FILE = "model.pte"


class Half(torch.nn.Module):
    """A float16 copy of a classifier between float32 input and output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model.half()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images float32 [B, C, H, W] -> logits float32 [B, classes]."""
        return self.model(images.half()).float()


def capture(model: torch.nn.Module, job: ExportJob, backend: Backend) -> tuple[torch.export.ExportedProgram, Rewritten]:
    """The model as a program for the job's batch, rewritten so that a backend takes it whole; what was rewritten."""
    program = torch.export.export(model, (job.example,))
    return program, rewrite(program, backend)


def write(
    program: torch.export.ExportedProgram,
    job: ExportJob,
    partitioners: Sequence[Any],
    *,
    compile_config: EdgeCompileConfig | None = None,
) -> Any:
    """Lower a program to the partitioners' backends and write `model.pte`; returns ExecuTorch's program.

    The job's metadata become constant methods: `load_method("labels").call(())` gives a list of one string.
    """
    constants: Mapping[str, str] = job.metadata()
    lowered = to_edge_transform_and_lower(
        program,
        partitioner=list(partitioners),
        constant_methods=dict(constants),
        compile_config=compile_config,
    ).to_executorch()
    (job.folder / MODEL_FILE).write_bytes(lowered.buffer)
    return lowered.executorch_program


def exported(job: ExportJob, *, scheme: str, delegation: Delegation, rewrites: Rewritten, **more: Any) -> ExportedModel:
    """What an ExecuTorch exporter says of its file."""
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme=scheme,
        batch=job.batch,
        delegation=delegation,
        notes=rewrites.notes,
        versions=versions("executorch", "torch", "torchao"),
        # ExecuTorch promises that a later runtime loads it, so the writing version is a safe lower bound.
        minimum_runtime=f"executorch {versions('executorch')['executorch']}",
        **more,
    )


def count_delegation(program: Any, backend: Backend) -> Delegation:
    """Count what the runtime will execute: calls into the backend, and kernel calls outside of it by operator."""
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    pieces, kernels = 0, Counter[str]()
    for call in (instruction.instr_args for chain in plan.chains for instruction in chain.instructions):
        kind = type(call).__name__
        if kind == "DelegateCall":
            pieces += 1
        elif kind == "KernelCall":
            kernels[plan.operators[call.op_index].name] += 1
    return Delegation(backend=backend, pieces=pieces, undelegated=dict(sorted(kernels.items())))
