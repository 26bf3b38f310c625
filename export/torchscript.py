"""TorchScript: a frozen trace for the lite interpreter, PyTorch's legacy (and deprecated) Android runtime."""

from pathlib import Path
from typing import Literal

import torch

from distill.checkpoint import versions
from export.job import ExportedModel, ExportJob

MODEL_FILE = "model.ptl"


def export(job: ExportJob) -> ExportedModel:
    """Write `model.ptl`: traced at batch 1 and frozen, which folds batch normalisation into the convolutions.

    Input float32 [B, C, H, W] in [0, 1], output logits [B, classes]. Two exports are not byte-identical (libtorch
    mangles class names).
    """
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(job.model, job.example, check_trace=False))
    # The lite interpreter's file: the Android runtime loads nothing else, and libtorch loads it too.
    frozen._save_for_lite_interpreter(str(job.folder / MODEL_FILE))
    return ExportedModel(
        files=(Path(MODEL_FILE),),
        scheme="float32, frozen trace for the lite interpreter",
        batch=_batch(frozen, job),
        versions=versions("torch"),
    )


def _batch(frozen: torch.jit.ScriptModule, job: ExportJob) -> Literal[1, -1]:
    """-1 if the trace computes the same as eager at another batch size: some networks bake theirs in."""
    images = torch.rand((3, *job.preprocess.input_shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = job.model(images)
        try:
            found = frozen(images)
        except RuntimeError:
            return 1
    same = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)
    return -1 if same else 1
