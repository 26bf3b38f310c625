"""The logits of finished runs on their validation images, computed once and kept beside the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill import checkpoint
from distill.errors import WorkFailed
from distill.evaluation.evaluate import predict
from distill.figures.runs import Repeat
from distill.terminal import progress
from distill.training.batches import Batches
from distill.vision.cache import cached_array
from distill.vision.datasets import Split


@dataclass(frozen=True)
class Answers:
    """A checkpoint's logits float32 [N, classes] to its validation split, uncalibrated, and the labels int64 [N]."""

    logits: Tensor
    labels: Tensor
    split: Split


def predictions(runs: Sequence[Repeat]) -> dict[Path, Answers]:
    """The answers of each run by its folder.

    Raises:
        WorkFailed: the validation images are not those the run was validated on.
    """
    splits: dict[str, Split] = {}
    answers: dict[Path, Answers] = {}
    with progress(unit="checkpoints") as display:
        bar = display.add_task("asking the checkpoints again", total=len(runs), note="")
        for run in runs:
            key = f"{run.config.dataset.model_dump_json()}{run.card.preprocess.model_dump_json()}"
            if key not in splits:
                splits[key] = validation_split(run)
            split = splits[key]
            answers[run.folder] = Answers(kept_logits(run, split), torch.from_numpy(split.labels), split)
            display.advance(bar)
    return answers


def validation_split(run: Repeat) -> Split:
    """The images that the run was validated on; raises WorkFailed if these are others."""
    split = run.config.dataset.load("validation", run.card.preprocess)
    if split.sha256() != run.training.data.validation_sha256:
        raise WorkFailed(
            f"the validation images of {run.config.dataset.kind} are not those that {run.folder} was validated on. "
            "Put the data back as they were, or run the study on the new data in another folder."
        )
    return split


def logits_file(run: Repeat) -> Path:
    """Where a run's logits are kept: named by its weights and its validation images."""
    key = f"{run.card.weights_sha256[:12]}-{run.training.data.validation_sha256[:12]}"
    return run.folder / f"validation-logits-{key}.array"


def kept_logits(run: Repeat, split: Split) -> Tensor:
    """Logits float32 [N, classes] of the best epoch, on the CPU; computed only if they are not kept."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def ask() -> NDArray[np.float32]:
        loaded = checkpoint.load(run.folder)
        batches = Batches(split, batch_size=256, device=device)
        return predict(loaded.model.to(device), batches).cpu().numpy()

    return torch.from_numpy(cached_array(logits_file(run), ask))
