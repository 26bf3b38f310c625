"""The checkpoint itself as an artifact, so that teacher and eager student are rows of a bench like any other."""

import shutil
from pathlib import Path

from distill.checkpoint import CARD_FILE, WEIGHTS_FILE, versions
from export.artifact.manifest import ANY_BATCH
from export.formats.job import ExportedModel, ExportJob


def export(job: ExportJob) -> ExportedModel:
    """Copy the weights and write the card; it runs through `distill.checkpoint` and takes any batch size."""
    shutil.copyfile(job.checkpoint / WEIGHTS_FILE, job.folder / WEIGHTS_FILE)
    job.card.write(job.folder / CARD_FILE)
    return ExportedModel(
        files=(Path(WEIGHTS_FILE), Path(CARD_FILE)),
        scheme="float32, PyTorch eager",
        batch=ANY_BATCH,
        versions=versions("torch", "torchvision", "timm"),
    )
