"""A study's finished runs, as the figures need them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.checkpoint import CARD_FILE, Card, Metrics, Training, find, of_classifier
from distill.config import RunConfig, parse
from distill.errors import UsageError
from distill.methods.scratch import ScratchConfig
from distill.run_folder import METRICS_FILE
from distill.study.comparison import Estimate, estimate
from distill.study.run import STUDY_FILE, StudyCell, StudyFile
from distill.study.table import MARKDOWN_FILE


@dataclass(frozen=True)
class Repeat:
    """One finished run of a study: one seed of a student under a technique.

    Attributes:
        folder: the run folder.
        group, baseline: as in `StudyCell`.
        training: of the card, which holds the best and the last epoch's metrics.
        epochs: the rows of `metrics.jsonl`.
    """

    technique: str
    folder: Path
    card: Card
    training: Training
    config: RunConfig
    epochs: tuple[dict[str, Any], ...]
    group: str | None = None
    baseline: str | None = None

    @property
    def best(self) -> Metrics:
        """Of the best epoch."""
        return of_classifier(self.training.best)

    @property
    def last(self) -> Metrics:
        """Of the last epoch."""
        return of_classifier(self.training.last)

    @property
    def student(self) -> str:
        """What it is compared among: its group or its network."""
        return self.group or self.config.model

    @property
    def size_px(self) -> int:
        """Side of the images the student sees."""
        return self.config.image.size_px

    @property
    def network(self) -> tuple[str, int]:
        """What decides its speed and its bytes: the network's name and the image size."""
        return (self.config.model, self.size_px)

    @property
    def supervised(self) -> bool:
        """True if it learnt from the labels alone."""
        return isinstance(self.config.method, ScratchConfig)


@dataclass(frozen=True)
class TeacherRun:
    """A teacher of a study."""

    folder: Path
    card: Card
    training: Training

    @property
    def accuracy(self) -> float:
        """On the validation images, in [0, 1]."""
        return of_classifier(self.training.best).accuracy

    @property
    def last(self) -> Metrics:
        """Of the last epoch."""
        return of_classifier(self.training.last)


@dataclass(frozen=True)
class StudyRuns:
    """What there is to draw.

    Attributes:
        baseline: the technique that the others are compared with.
        repeats: finished runs, in the study's order.
        unfinished: cells that are not, in words.
        teacher: None if there is none, several, or one whose accuracy is not known.
        teachers: by student, of those that have one and of whose teacher the accuracy is known.
    """

    name: str
    folder: Path
    baseline: str
    repeats: tuple[Repeat, ...]
    unfinished: tuple[str, ...]
    teacher: TeacherRun | None
    teachers: Mapping[str, TeacherRun] = field(default_factory=dict)

    @property
    def runs(self) -> list[Repeat]:
        """Every run once, though it be a cell of several groups."""
        return list({repeat.folder: repeat for repeat in self.repeats}.values())

    @property
    def students(self) -> list[str]:
        """Networks, or groups, with a finished run."""
        return list(dict.fromkeys(repeat.student for repeat in self.repeats))

    @property
    def sizes_px(self) -> list[int]:
        """Image sizes, smallest first."""
        return sorted({repeat.size_px for repeat in self.repeats})

    def techniques(self, student: str) -> list[str]:
        """Techniques with a finished run of this student."""
        return list(dict.fromkeys(repeat.technique for repeat in self.repeats if repeat.student == student))

    def of(self, student: str, technique: str) -> list[Repeat]:
        """The finished seeds of a student under a technique."""
        return [repeat for repeat in self.repeats if (repeat.student, repeat.technique) == (student, technique)]

    def best_distilled(self, student: str) -> str | None:
        """The distilled technique of a student with the highest mean accuracy, at whatever image size."""
        return best_technique(
            [repeat for repeat in self.repeats if repeat.student == student and not repeat.supervised]
        )

    def basis(self) -> str:
        """What every caption says of the runs: data, seeds, epochs, and how many cells are missing."""
        data = self.repeats[0].training.data
        seeds = len({repeat.training.seed for repeat in self.repeats})
        epochs = " or ".join(str(n) for n in sorted({repeat.config.training.epochs for repeat in self.repeats}))
        stopped = any(repeat.config.training.early_stopping_patience for repeat in self.repeats)
        repeated = "one seed, so there is no interval" if seeds == 1 else f"{seeds} seeds"
        text = (
            f"Study {self.name}. Data: {data.config.kind}, {data.num_train:,} training and "
            f"{data.num_validation:,} validation images; {repeated}; "
            f"{epochs} epochs{' at most' if stopped else ''}."
        )
        if self.unfinished:
            total = len(self.repeats) + len(self.unfinished)
            text += f" Unfinished study: {len(self.repeats)} of {total} cells; a mark without a bar is one run."
        return text


def best_technique(repeats: Sequence[Repeat]) -> str | None:
    """The technique with the highest mean accuracy among those with the most finished seeds; None without any run.

    A technique of an unfinished study does not win by its one lucky seed.
    """
    techniques = list(dict.fromkeys(repeat.technique for repeat in repeats))
    runs = {name: [repeat for repeat in repeats if repeat.technique == name] for name in techniques}
    most = max((len(of_technique) for of_technique in runs.values()), default=0)
    complete = [name for name in techniques if len(runs[name]) == most]
    return max(complete, key=lambda name: accuracy(runs[name]).mean, default=None)


def accuracy(repeats: Sequence[Repeat]) -> Estimate:
    """Best-epoch validation accuracy over seeds."""
    return over_seeds(repeats, lambda repeat: repeat.best.accuracy)


def over_seeds(repeats: Sequence[Repeat], value: Callable[[Repeat], float]) -> Estimate:
    """A quantity's mean over seeds with its 95 % t interval."""
    return estimate([value(repeat) for repeat in repeats])


def read_study(folder: Path) -> StudyRuns:
    """What is finished of the study in a folder.

    Raises:
        UsageError: it is no study's folder, or no cell is finished.
    """
    if not (folder / STUDY_FILE).is_file():
        raise UsageError(
            f"{folder} is not a study's folder: there is no {STUDY_FILE} in it. Give the folder of a study that was "
            "started with: python -m distill study STUDY --out FOLDER (started again, it writes the file and keeps "
            "what is finished)."
        )
    file = StudyFile.read(folder)
    cells = [(cell, _finished(folder, cell)) for cell in file.cells]
    repeats = tuple(repeat for _, repeat in cells if repeat is not None)
    if not repeats:
        raise UsageError(
            f"no cell of {file.name} in {folder} is finished, so there is nothing to draw. "
            f"Go on with: python -m distill study {file.name} --out {folder}"
        )
    dense = sorted({str(repeat.card.task) for repeat in repeats} - {"classification"})
    if dense:
        raise UsageError(
            f"{file.name} in {folder} is about {' and '.join(dense)}; the figures are of papers on classifiers. "
            f"Its table is {folder / MARKDOWN_FILE}."
        )
    waiting = [cell for cell, repeat in cells if repeat is None]
    return StudyRuns(
        name=file.name,
        folder=folder,
        baseline=file.baseline,
        repeats=repeats,
        unfinished=tuple(f"{cell.group or cell.model}, {cell.technique}, seed {cell.seed}" for cell in waiting),
        teacher=None if file.teacher is None else _teacher(folder / file.teacher),
        teachers=_teachers(folder, file),
    )


def _teachers(folder: Path, file: StudyFile) -> dict[str, TeacherRun]:
    found: dict[str, TeacherRun] = {}
    for student in dict.fromkeys(cell.group or cell.model for cell in file.cells):
        folders = {cell.teacher for cell in file.cells if student == (cell.group or cell.model)} - {None}
        teacher = _teacher(folder / str(folders.pop())) if len(folders) == 1 else None
        if teacher is not None:
            found[student] = teacher
    return found


def _finished(study: Path, cell: StudyCell) -> Repeat | None:
    """The run if it was run to its end; the weights are verified by whoever reads them."""
    run = study / cell.folder
    if not (run / "best" / CARD_FILE).is_file():
        return None
    card = Card.read(run / "best" / CARD_FILE)
    if card.training is None or not card.training.finished:
        return None
    config = parse(json.dumps(card.training.config), source=str(run / "best" / CARD_FILE))
    rows = (run / METRICS_FILE).read_text("utf-8").splitlines()
    epochs = tuple(json.loads(row) for row in rows)
    return Repeat(cell.technique, run, card, card.training, config, epochs, cell.group, cell.baseline)


def _teacher(folder: Path) -> TeacherRun | None:
    """The teacher, from a run folder or a checkpoint folder; None if it is not trained or was brought without data."""
    if not any((path / CARD_FILE).is_file() for path in (folder, folder / "best")):
        return None
    card = Card.read(find(folder) / CARD_FILE)
    if card.training is None or not card.training.finished:
        return None
    return TeacherRun(folder, card, card.training)
