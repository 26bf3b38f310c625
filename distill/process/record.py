"""`process.json`: what a search has found, to be followed by other runs."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from distill.contract import Contract, Strict, sha256_of_file
from distill.process.normalisation import Normalisation
from distill.process.pathways import Grid, Pathway
from distill.process.settings import SearchedProcess
from distill.vision.datasets import DatasetConfig

PROCESS_FILE = "process.json"
PICTURE = "process"


class Searcher(Strict):
    """Which networks and data a process was searched with.

    Attributes:
        student: a name of `distill.vision.models`.
        teacher: the network, or where its weights were brought from.
        teacher_sha256: hash of its weights.
        train_sha256: of all training images, those held back included.
        held_back: share of them that the search was judged by.
        seed: of student, transforms, batches and the division of the images.
    """

    student: str
    teacher: str
    teacher_sha256: str | None
    dataset: DatasetConfig
    train_sha256: str
    num_train: int
    held_back: float
    seed: int


class Process(Contract):
    """A distillation process.

    Attributes:
        grid: the settings that the pathways come from.
        pathways: what a row's factors are of.
        raw: raw factors, the mean over each epoch of the search; the same normalisation makes weights of them.
        version: of this toolkit.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    searched: Searcher
    grid: Grid
    normalisation: Normalisation
    pathways: Annotated[tuple[Pathway, ...], Field(min_length=1)]
    raw: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1)]
    version: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if {len(row) for row in self.raw} != {len(self.pathways)}:
            raise ValueError(f"every row of raw must have {len(self.pathways)} factors, one for each pathway")
        return self

    @property
    def pair(self) -> str:
        """The networks in words."""
        return f"{self.searched.student} from {self.searched.teacher}"


def searched_process(path: Path) -> tuple[SearchedProcess, Process]:
    """A process as a run's settings carry it, and the whole record; raises UsageError if there is none."""
    process = Process.read(path)
    settings = SearchedProcess(
        sha256=sha256_of_file(path), searched=process.pair, pathways=process.pathways, raw=process.raw
    )
    return settings, process
