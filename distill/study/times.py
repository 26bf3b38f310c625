"""How long a study's runs took, and what they shared the machine with."""

import json
from dataclasses import dataclass
from pathlib import Path

from distill.engines.cell_process import CONDITIONS_FILE
from distill.run_folder import METRICS_FILE


@dataclass(frozen=True)
class Times:
    """Times of one run.

    Attributes:
        epochs_s: training of every epoch, without validation.
        batches_ms: every epoch's median time of a batch; empty for runs that did not keep it.
        conditions: device, threads and how many runs at once, in words; None if that was not kept.
    """

    epochs_s: tuple[float, ...] = ()
    batches_ms: tuple[float, ...] = ()
    conditions: str | None = None


def read_times(folder: Path) -> Times:
    """The times that a run folder tells of; empty if it has no epoch yet."""
    rows = [json.loads(line) for line in _text(folder / METRICS_FILE).splitlines()]
    return Times(
        epochs_s=tuple(row["seconds"] for row in rows),
        batches_ms=tuple(row["median_batch_ms"] for row in rows if "median_batch_ms" in row),
        conditions=_text(folder / CONDITIONS_FILE).strip() or None,
    )


def epochs_finished(folder: Path) -> int:
    """How many epochs of a run are done."""
    return len(_text(folder / METRICS_FILE).splitlines())


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
