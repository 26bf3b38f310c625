"""What a search leaves in its run's folder: the process and its picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from distill.checkpoint import Training
from distill.config import LibraryTeacher, RunConfig, TrainTeacher, parse
from distill.figures.gallery import write_drawing
from distill.process.picture import draw
from distill.process.record import PICTURE, PROCESS_FILE, Process, Searcher
from distill.terminal import say
from distill.version import toolkit_version

if TYPE_CHECKING:
    from distill.methods.distpro_search import DistProSearch


def write_process(folder: Path, method: "DistProSearch", training: Training) -> None:
    """Write `process.json`, and the picture beside it; a picture that cannot be drawn costs a sentence only."""
    process = record_of(method, training)
    process.write(folder / PROCESS_FILE)
    try:
        write_drawing(folder, draw(process, PICTURE))
    except Exception as error:  # fonts and drawing may raise anything
        say(f"[yellow]{escape(f'{folder / PROCESS_FILE} is written, but has no picture: {error}')}[/]")


def record_of(method: "DistProSearch", training: Training) -> Process:
    """The process that was searched in a run."""
    config = parse(json.dumps(training.config), source="the run's settings")
    return Process(
        searched=Searcher(
            student=config.model,
            teacher=_teacher(config),
            teacher_sha256=training.teacher_sha256,
            dataset=training.data.config,
            train_sha256=training.data.train_sha256,
            num_train=training.data.num_train,
            held_back=method.config.held_back,
            seed=training.seed,
        ),
        grid=method.config.grid,
        normalisation=method.config.normalisation,
        pathways=method.distances.pathways,
        raw=tuple(tuple(round(factor, 6) for factor in row) for row in method.process()),
        version=toolkit_version(),
    )


def _teacher(config: RunConfig) -> str:
    teacher = config.teacher
    if isinstance(teacher, TrainTeacher | LibraryTeacher):
        return teacher.model
    return str(getattr(teacher, "path", "?"))
