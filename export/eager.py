"""The checkpoint itself as an artifact, so that teacher and eager student are rows of a bench like any other."""

import shutil
from pathlib import Path

from distill.checkpoint import CARD_FILE, WEIGHTS_FILE, versions
from export.job import ExportedModel, ExportJob


def export(job: ExportJob) -> ExportedModel:
    """Copy `weights.safetensors` and `card.json`; it runs through `distill.checkpoint` and takes any batch size."""
    for name in (WEIGHTS_FILE, CARD_FILE):
        shutil.copyfile(job.checkpoint / name, job.folder / name)
    return ExportedModel(
        files=(Path(WEIGHTS_FILE), Path(CARD_FILE)),
        scheme="float32, PyTorch eager",
        batch=-1,
        versions=versions("torch", "torchvision", "timm"),
    )
