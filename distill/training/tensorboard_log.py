"""`--log tensorboard`: what a run computes, epoch by epoch, as TensorBoard shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.checkpoint import DepthMetrics, Metrics, SegmentationMetrics
from distill.errors import UsageError
from distill.training.batches import Batches

FOLDER = "tensorboard"
IMAGES_SHOWN = 32
OF_VALIDATION = {*Metrics.model_fields, *SegmentationMetrics.model_fields, *DepthMetrics.model_fields}
"""Figures of a row that are of the validation images."""


def require_tensorboard() -> None:
    """Raise UsageError if the package is missing."""
    try:
        import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--log tensorboard needs {error.name}, which is not installed: pip install 'pocket-distill[tensorboard]'. "
            "Without it a run has its figures in metrics.jsonl and, when it is over, on its page."
        ) from error


class TensorBoardLog:
    """The log of one session of a run.

    A session that resumes the run appends a file, which begins with the figures of all epochs before: the log has no
    gap where an earlier session was killed or kept none.
    """

    def __init__(self, run: Path, history: Sequence[Mapping[str, Any]]) -> None:
        """Args: the run's folder, and the rows of the epochs that are finished."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(run / FOLDER, purge_step=1)
        for row in history:
            self.show_epoch(row)

    def show_batch(self, batches: Batches, epoch: int) -> None:
        """The first images of an epoch (1-based) as the network sees them, before mean and deviation."""
        images = next(batches.epoch(epoch - 1)).images
        self.writer.add_images("a batch as the network sees it", images[:IMAGES_SHOWN].cpu(), epoch)

    def show_epoch(self, row: Mapping[str, Any]) -> None:
        """The figures of a finished epoch: a row of `metrics.jsonl`."""
        epoch = row["epoch"]
        for name, value in scalars(row).items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a row of `metrics.jsonl` by the name that they have on the board."""
    named = {f"loss/{name}": value for name, value in row.get("losses", {}).items()}
    for name, value in row.items():
        if isinstance(value, float):
            named[f"{'validation' if name in OF_VALIDATION else 'training'}/{name}"] = value
    return named
