"""A study: a grid of runs with repeats. Finished cells are never run twice, a failed one never stops the rest.

A cell's folder is named by the hash of everything that decides its result. So a study that was killed goes on where it
was, and a study that grows runs only what is new. Teachers are trained once, before the cells that learn from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from rich.markup import escape

from distill import checkpoint
from distill.checkpoint import CARD_FILE, AnyMetrics, Card
from distill.config import CheckpointTeacher, RunConfig, TrainTeacher
from distill.contract import Contract, Strict, write_whole
from distill.data import load_data
from distill.engines import OWN_CHOICE, Ended, Engine, Options, Started, open_engine
from distill.errors import UsageError
from distill.methods import MethodConfig
from distill.run_folder import CONFIG_FILE, RunData, RunFolder
from distill.study.progress import StudyProgress
from distill.study.times import Times, read_times
from distill.system import started_by_torchrun
from distill.terminal import progress, say

STUDY_FILE = "study.json"
CELLS = "cells"
ONE_DAY_S = 86_400


class StudyCell(Strict):
    """Where one run of a study lies.

    Attributes:
        technique: what it is compared by; repeats share it.
        baseline: the technique that it is compared with; None for the study's, and in version 1.
        group: cells of one group are compared with each other; None for those of one network, and in version 1.
        folder: its run folder, relative to the study's folder; empty or missing until the cell has begun. Cells of
            several groups may share one.
        teacher: its teacher's run or checkpoint folder, relative to the study's folder (absolute if it lies elsewhere);
            None without a teacher and for teachers that are not ours.
    """

    technique: str
    baseline: str | None
    group: str | None
    model: str
    seed: int
    folder: str
    teacher: str | None


class StudyFile(Contract):
    """What a study folder holds, for readers that do not know the recipe: `study.json`, written before the first cell.

    Attributes:
        baseline: the technique that those are compared with that name no other.
        cells: in the order of the grid.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    schema_version: Literal[2] = 2
    name: str
    baseline: str
    cells: tuple[StudyCell, ...]

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Of version 1 every cell is compared with the study's baseline, among those of its network."""
        if raw.get("schema_version") != 1:
            return raw
        cells = [{"baseline": None, "group": None} | cell for cell in raw["cells"]]
        return raw | {"schema_version": 2, "cells": cells}

    @property
    def teacher(self) -> str | None:
        """The teacher's folder as in the cells, if all cells that have a teacher have this one; else None."""
        known = {cell.teacher for cell in self.cells if cell.teacher is not None}
        return known.pop() if len(known) == 1 else None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a study folder's record (or the file itself); errors as `Contract.read`."""
        return super().read(path / STUDY_FILE if path.suffix != ".json" else path)


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        technique: what it is compared by, e.g. "KD T=2 alpha=0.5"; repeats share it.
        config: the complete run.
        baseline: the technique it is compared with; None for the study's.
        group: cells of one group are compared with each other, e.g. those of one teacher and student; None for those
            of one network. A run may be a cell of several groups; it is run once.
        question: comparisons that answer one question together, for which their tests are corrected; None for those
            with the same baseline.
    """

    technique: str
    config: RunConfig
    baseline: str | None = None
    group: str | None = None
    question: str | None = None

    @property
    def student(self) -> str:
        """What it is compared among: its group or its network."""
        return self.group or self.config.model

    def folder(self, study: Path) -> Path:
        """Where the cell's run lies: named by what decides its result."""
        return study / CELLS / f"{self.config.model.replace(':', '-')}-{self.config.identity()[:12]}"

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.student}  {self.technique}  seed {self.config.seed}"

    def teacher_run(self) -> RunConfig | None:
        """The run that trains its teacher, if one has to."""
        return self.config.teacher_run() if isinstance(self.config.teacher, TrainTeacher) else None

    def search_run(self) -> RunConfig | None:
        """The run that searches the process it follows, if one has to."""
        return self.config.search_run()

    def teacher_folder(self) -> str | None:
        """Its teacher's folder, as in `StudyCell`."""
        match self.config.teacher:
            case TrainTeacher():
                return f"{CELLS}/{self.config.teacher_run().name}"
            case CheckpointTeacher(path=path):
                return str(Path(path).absolute())
            case _:
                return None


def cell_run(base: RunConfig, *, model: str, method: MethodConfig, seed: int) -> RunConfig:
    """The base with another student, method and seed; without a teacher for methods that need none."""
    teacher = base.teacher if method.needs.teacher != "none" else None
    return base.model_copy(update={"model": model, "method": method, "seed": seed, "teacher": teacher})


@dataclass(frozen=True)
class Study:
    """A named grid of cells.

    Attributes:
        baseline: the technique that those are compared with that name no other.
    """

    name: str
    baseline: str
    cells: tuple[Cell, ...]

    def file(self, path: Path) -> StudyFile:
        """The record of this study in the folder `path`."""
        return StudyFile(
            name=self.name,
            baseline=self.baseline,
            cells=tuple(
                StudyCell(
                    technique=cell.technique,
                    baseline=cell.baseline,
                    group=cell.group,
                    model=cell.config.model,
                    seed=cell.config.seed,
                    folder=str(cell.folder(path).relative_to(path)),
                    teacher=cell.teacher_folder(),
                )
                for cell in self.cells
            ),
        )


@dataclass(frozen=True)
class Result:
    """How a cell ended: with a card, or with the reason why not.

    Attributes:
        teacher: metrics of its teacher's best epoch or, if it has none, of the study's only one; None if unknown.
    """

    cell: Cell
    card: Card | None
    failure: str | None
    times: Times = field(default_factory=Times)
    teacher: AnyMetrics | None = None


def run_study(study: Study, path: Path, *, engine: str = "local", options: Options = OWN_CHOICE) -> list[Result]:
    """Run every cell that is not finished, each in a process of its own, where the engine says.

    Returns:
        One result per cell, in the grid's order.

    Raises:
        UsageError: the engine cannot be had as asked for, torchrun started this, or finished cells are of other data
            than there are now; no cell was begun.
    """
    processes, _ = started_by_torchrun()
    if processes > 1:
        raise UsageError(
            f"torchrun started {processes} processes, and each would run the whole study. A study spreads its runs "
            "itself: python -m distill study STUDY --jobs N here, or --engine ray --address HOST:PORT on a cluster."
        )
    record = study.file(path)
    record.write(path / STUDY_FILE)
    folders = {cell: cell.folder(path) for cell in study.cells}
    waiting = [cell for cell in study.cells if RunFolder(folders[cell], cell.config).finished() is None]
    total = len({*folders.values()})
    done = total - len({folders[cell] for cell in waiting})
    if waiting:
        require_same_data(study, path)
    say(f"{study.name}: {total} cells, {done} of them finished before")
    failures: dict[Path, str] = {}
    if waiting:
        with open_engine(engine, path / STUDY_FILE, options) as chosen, progress(estimate_over_s=ONE_DAY_S) as display:
            rows = StudyProgress(display, study.name, total=total, finished=done)
            failures = train_teachers(waiting, path, chosen, rows)
            searching = [cell for cell in waiting if folders[cell] not in failures]
            failures |= search_processes(searching, path, chosen, rows)
            able = {folders[cell]: (cell.title, cell.config) for cell in waiting if folders[cell] not in failures}
            failures |= run_all(able, chosen, rows)
    return [result(cell, path, record.teacher, failures.get(folders[cell])) for cell in study.cells]


def require_same_data(study: Study, path: Path) -> None:
    """Raise UsageError if finished cells or teachers are of other data than the cells to come would learn from.

    Data that are drawn, not read, are what their settings say and are not looked at.
    """
    runs = {cell.folder(path): cell.config for cell in study.cells}
    runs |= {path / CELLS / run.name: run for cell in study.cells if (run := cell.teacher_run())}
    runs |= {path / CELLS / run.name: run for cell in study.cells if (run := cell.search_run())}
    now: dict[str, RunData] = {}
    for folder, config in runs.items():
        card = RunFolder(folder, config).finished() if hasattr(config.dataset, "path") else None
        if card is None:
            continue
        view = config.dataset.model_dump_json() + config.preprocess.model_dump_json()
        if view not in now:
            now[view] = RunData.of(load_data(config))
        if (then := RunData.of_card(card)) != now[view]:
            raise UsageError(
                f"{path} has finished cells of other data than there are now ({then.changes(now[view])}; {folder.name} "
                "is one). They are not compared with each other: put the old data back, or choose another folder with "
                "--out."
            )


def train_teachers(cells: Sequence[Cell], path: Path, engine: Engine, rows: StudyProgress) -> dict[Path, str]:
    """Train each teacher once, before the cells that learn from it; returns the cells that must go without, and why."""
    runs = {cell: run for cell in cells if (run := cell.teacher_run())}
    searches = (run.teacher_run() for cell in cells if (run := cell.search_run()) and cell in runs)
    return _run_before("teacher", runs, path, engine, rows, also=[*searches])


def search_processes(cells: Sequence[Cell], path: Path, engine: Engine, rows: StudyProgress) -> dict[Path, str]:
    """Search each process once, before the cells that follow it; returns the cells that must go without, and why."""
    return _run_before("search", {cell: run for cell in cells if (run := cell.search_run())}, path, engine, rows)


def _run_before(
    what: str,
    needed: Mapping[Cell, RunConfig],
    path: Path,
    engine: Engine,
    rows: StudyProgress,
    also: Sequence[RunConfig] = (),
) -> dict[Path, str]:
    """Finish each run once that some cells need, and some more; returns the cells whose run failed, and why."""
    runs = {path / CELLS / run.name: run for run in (*needed.values(), *also)}
    missing = {
        folder: (f"{what} {run.model}", run)
        for folder, run in runs.items()
        if RunFolder(folder, run).finished() is None
    }
    failures = run_all(missing, engine, rows, counts=False)
    return {
        cell.folder(path): f"its {what} failed: {failures[path / CELLS / run.name]}"
        for cell, run in needed.items()
        if path / CELLS / run.name in failures
    }


def run_all(
    runs: Mapping[Path, tuple[str, RunConfig]], engine: Engine, rows: StudyProgress, *, counts: bool = True
) -> dict[Path, str]:
    """Run configurations, each with a title, in their folders; returns those that failed, and why.

    Args:
        runs: title and configuration by folder.
        engine: where.
        rows: what shows them.
        counts: whether they are cells of the study.
    """
    failures: dict[Path, str] = {}
    for event in engine.run([with_config(folder, config) for folder, (_, config) in runs.items()]):
        match event:
            case Started(folder, host):
                rows.started(folder, *runs[folder], host)
            case Ended(folder, failure):
                title, config = runs[folder]
                card = RunFolder(folder, config).finished()
                rows.ended(folder, f"{title}  {ending(card, failure)}", counts=counts)
                if card is None:
                    failures[folder] = failure or "not finished"
            case _:
                rows.follow()
    return failures


def with_config(folder: Path, config: RunConfig) -> Path:
    """The run folder, made ready for a process that will run it."""
    if not (folder / CONFIG_FILE).is_file():
        write_whole(folder / CONFIG_FILE, (config.model_dump_json(indent=2) + "\n").encode())
    return folder


def ending(card: Card | None, failure: str | None) -> str:
    """A run's last words on the terminal."""
    if failure or card is None or card.training is None:
        return f"[red]failed[/]: {escape(failure or 'not finished')}"
    title, value = next(iter(card.training.best.figures().items()))
    return f"{title} {value}"


def result(cell: Cell, path: Path, study_teacher: str | None, failure: str | None) -> Result:
    """What the folders say of a cell after the study."""
    folder = cell.folder(path)
    teacher = cell.teacher_folder() or study_teacher
    return Result(
        cell,
        RunFolder(folder, cell.config).finished(),
        failure,
        times=read_times(folder),
        teacher=None if teacher is None else best_of(path / teacher),
    )


def best_of(folder: Path) -> AnyMetrics | None:
    """Metrics of the best epoch of a run or checkpoint; None if there is none, or none that are known."""
    try:
        file = checkpoint.find(folder) / CARD_FILE
    except UsageError:  # its training failed, which the cells have told
        return None
    training = Card.read(file).training
    return training.best if training else None
