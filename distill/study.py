"""A study: a grid of runs with repeats. Finished cells are never run twice, a failed one never stops the rest.

A cell's folder is named by the hash of everything that decides its result. So a study that was killed goes on where it
was, and a study that grows runs only what is new. Teachers are trained once, before the cells that learn from them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from distill.checkpoint import Card
from distill.config import RunConfig, TrainTeacher
from distill.contract import write_whole
from distill.run_folder import CONFIG_FILE, RunFolder
from distill.terminal import progress, say

CELLS = "cells"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        technique: what it is compared by, e.g. "KD T=2 alpha=0.5"; repeats share it.
        config: the complete run.
    """

    technique: str
    config: RunConfig

    def folder(self, study: Path) -> Path:
        """Where the cell's run lies: named by what decides its result."""
        return study / CELLS / f"{self.config.model.replace(':', '-')}-{self.config.identity()[:12]}"


@dataclass(frozen=True)
class Study:
    """A named grid of cells.

    Attributes:
        baseline: the technique that the others are compared with.
    """

    name: str
    baseline: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Result:
    """How a cell ended: with a card, or with the reason why not."""

    cell: Cell
    card: Card | None
    failure: str | None


def run_study(study: Study, path: Path, *, jobs: int) -> list[Result]:
    """Run every cell that is not finished, `jobs` at a time, each in a process of its own.

    Returns:
        One result per cell, in the grid's order.
    """
    waiting = [cell for cell in study.cells if finished(cell, path) is None]
    say(f"{study.name}: {len(study.cells)} cells, {len(study.cells) - len(waiting)} of them finished before")
    train_teachers(waiting, path, jobs)
    failures: dict[Cell, str] = {}
    with progress(unit="cells") as display:
        bar = display.add_task(study.name, total=len(waiting), note="")
        for cell, failure in run_side_by_side(waiting, path, jobs):
            display.advance(bar)
            say(f"{cell.config.model}  {cell.technique}  seed {cell.config.seed}  {ending(cell, path, failure)}")
            if failure:
                failures[cell] = failure
    return [Result(cell, finished(cell, path), failures.get(cell)) for cell in study.cells]


def train_teachers(cells: Sequence[Cell], path: Path, jobs: int) -> None:
    """Train each teacher once; two cells must not both find it missing. A failure shows again in its students."""
    runs = [cell.config.teacher_run() for cell in cells if isinstance(cell.config.teacher, TrainTeacher)]
    missing = {run.identity(): run for run in runs if RunFolder(path / CELLS / run.name, run).finished() is None}
    threads = threads_per_job(min(jobs, len(missing)))
    with ThreadPoolExecutor(jobs) as pool:
        for run in missing.values():
            say(f"training the teacher first: {run.model}")
            pool.submit(run_process, run, path / CELLS / run.name, threads=threads)


def run_side_by_side(cells: Sequence[Cell], path: Path, jobs: int) -> Iterator[tuple[Cell, str | None]]:
    """Run cells, yield each with its failure (or None) as it ends."""
    with ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(run_process, cell.config, cell.folder(path), threads=threads_per_job(jobs)): cell
            for cell in cells
        }
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C: what runs stops with us, what waits does not begin
            raise


def run_process(config: RunConfig, folder: Path, *, threads: int) -> str | None:
    """Run a configuration to its end in a process of its own; returns why it failed, or None.

    What the process prints is kept in `log.txt` of the run folder.
    """
    if not (folder / CONFIG_FILE).is_file():
        write_whole(folder / CONFIG_FILE, (config.model_dump_json(indent=2) + "\n").encode())
    command = [sys.executable, "-m", "distill", "run", str(folder), "--out", str(folder), "--resume"]
    with (folder / LOG_FILE).open("ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=False)
    return None if ended.returncode == 0 else f"exit code {ended.returncode}; see {folder / LOG_FILE}"


def threads_per_job(jobs: int) -> int:
    """An equal share of the cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) // max(jobs, 1))


def finished(cell: Cell, path: Path) -> Card | None:
    """The card of a cell that was run to its end, else None."""
    return RunFolder(cell.folder(path), cell.config).finished()


def ending(cell: Cell, path: Path, failure: str | None) -> str:
    """A cell's last words on the terminal."""
    card = finished(cell, path)
    if failure or card is None or card.training is None:
        return f"[red]failed[/]: {failure or 'not finished'}"
    return f"accuracy {100 * card.training.best.accuracy:.2f} %"
