"""TorchScript: a frozen trace for the Lite Interpreter (.ptl), in fp32."""

import json
from pathlib import Path

import torch

from distill.checkpoint import versions
from distill.errors import WorkFailed
from export.artifact.manifest import ANY_BATCH
from export.formats.job import ExportedModel, ExportJob
from export.graph.watch import reads_of_the_picture

MODEL_FILE = "model.ptl"
METADATA = "pocket_distill.json"


def export(job: ExportJob) -> ExportedModel:
    """Write `model.ptl`: traced and frozen, which folds batch normalisation into the convolutions.

    Input float32 [B, C, H, W] in [0, 1], output logits [B, classes]. The job's metadata are the archive's extra file
    `pocket_distill.json`. Two exports by one process are not byte-identical: libtorch counts up the names it mangles.

    Raises:
        WorkFailed: any batch size was asked for, and the network bakes its own in; or it reads a value that it has
            computed from the picture, which the trace would freeze.
    """
    if reads := reads_of_the_picture(job.model, job.example):
        places = "; ".join(map(str, reads[:3]))
        raise WorkFailed(
            f"the network branches on its picture, and a trace keeps one branch for all: {places}. Write it without "
            "reading the value, e.g. with torch.where."
        )
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(job.model, job.example, check_trace=False))
    batch = ANY_BATCH if takes_any_batch(frozen, job) else job.batch
    if job.dynamic_batch and batch != ANY_BATCH:
        raise WorkFailed("the traced network has its batch size baked in; export it for a batch of one size.")
    # The lite interpreter's file: the Android runtime loads nothing else, and libtorch loads it too.
    extra = {METADATA: json.dumps(job.metadata(), ensure_ascii=False)}
    frozen._save_for_lite_interpreter(str(job.folder / MODEL_FILE), _extra_files=extra)
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme="float32, frozen trace for the lite interpreter",
        batch=batch,
        versions=versions("torch"),
    )


def takes_any_batch(frozen: torch.jit.ScriptModule, job: ExportJob) -> bool:
    """Whether the trace computes the same as eager at another batch size: some networks bake theirs in."""
    other = len(job.example) + 2
    images = torch.rand((other, *job.preprocess.input_shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = job.model(images)
        try:
            logits = frozen(images)
        except RuntimeError:
            return False
    return logits.shape == expected.shape and torch.allclose(logits, expected, rtol=1e-3, atol=1e-4)
