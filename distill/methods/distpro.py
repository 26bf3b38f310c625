"""distpro: the teacher's maps taught along many pathways, each weighed by a process that a search has found.

Deng et al. 2022, "DistPro: searching a fast knowledge distillation process via meta optimization", arXiv:2204.05547.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.method import ALL_TASKS, Family, Method, Needs, Outputs, Samples, Setting
from distill.process.normalisation import Normalisation
from distill.process.pathways import Distances, Grid, Pathway
from distill.process.schedule import interpolated, weights_above
from distill.process.settings import ProcessSource, SearchedProcess, SearchFirst
from distill.terminal import say


class DistProConfig(Strict):
    """Labels and all pathways from the teacher's maps to the student's, weighed by a process that a search has found.

    The process is searched first, or comes from an earlier search on these or other networks and data with the same
    pathways: `method.process=FILE` names a `process.json`.

    Attributes:
        grid: which pathways there are.
        normalisation: from raw factors to weights; the search's.
        weight: of the mean over the pathways where all weigh alike; 1 is the authors'. ReviewKD with the weight w has
            about as much at 4 w divided by the number of pathways.
        mode: `process` follows it from begin to end, `last_alpha` stays at its end, `equally_weighted` needs none.
        process: where it comes from.
        threshold: pathways whose raw factor is not above it are left out (tau).
    """

    family: ClassVar[Family] = "features"

    kind: Literal["distpro"] = "distpro"
    grid: Grid = Grid()
    normalisation: Normalisation = "biased_softmax"
    weight: Annotated[float, Field(ge=0)] = 1.0
    mode: Literal["process", "last_alpha", "equally_weighted"] = "process"
    process: ProcessSource = SearchFirst()
    threshold: float = 0.5

    @property
    def needs(self) -> Needs:
        """The teacher's taps; transforms of pathways that are left out stand idle."""
        return Needs(teacher="taps", taps=self.grid.needs, idle_parameters=True, tasks=ALL_TASKS)

    @property
    def search_first(self) -> SearchFirst | None:
        """The search that has to come before, if one has to."""
        if self.mode == "equally_weighted" or not isinstance(self.process, SearchFirst):
            return None
        return self.process

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError if the process is of other pathways."""
        return DistPro(self, setting)


class DistPro(Method):
    """Label loss and weighted distances (Eq. 2), times the number of pathways and the setting's weight.

    The paper has no such factor, with which the sum of all weights is below 1; the authors' release has it.

    Attributes:
        weights: pathway (counted from 0) -> weight, of those that are computed in this step.
        scale: the weighted sum is multiplied by it.
    """

    def __init__(self, config: DistProConfig, setting: Setting) -> None:
        super().__init__(config)
        self.distances = Distances(config.kind, config.grid, setting)
        count = len(self.distances)
        self.scale = config.weight * count
        self.raw = rows_of(config, self.distances.pathways)
        self.weights: Mapping[int, float] | None = dict.fromkeys(range(count), 1 / count)
        if config.mode != "equally_weighted":
            self.weights = None if self.raw is None else self.weights_at(0.0)
        self.told = False

    def weights_at(self, progress: float) -> dict[int, float]:
        """Weights at a moment of the run, [0, 1], of the pathways that are not left out."""
        assert self.raw is not None
        return weights_above(interpolated(self.raw, progress), self.config.threshold, self.config.normalisation)

    def start_step(self, progress: float) -> None:
        """Move along the process."""
        if self.raw is not None:
            self.weights = self.weights_at(progress)
        if not self.weights and not self.told:
            self.told = True
            say(
                "every pathway of the process is left out from here on (no raw factor is above method.threshold="
                f"{self.config.threshold:g}); the labels are learnt alone"
            )

    def scalars(self) -> dict[str, float]:
        """How many pathways the last step has computed."""
        return {"pathways": float(len(self.weights or ()))}

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`feature` (weighted) and `label`, both >= 0."""
        assert teacher is not None
        assert self.weights is not None, "the process has to be searched first"
        (student,) = students
        feature = student.logits.new_zeros(())
        if self.weights:
            distances = self.distances(student, teacher, self.weights)
            parts = zip(self.weights.values(), distances.unbind(), strict=True)
            feature = self.scale * torch.stack([weight * distance for weight, distance in parts]).sum()
        return {"feature": feature, "label": samples.label_loss(student.logits)}


def rows_of(config: DistProConfig, pathways: Sequence[Pathway]) -> Sequence[Sequence[float]] | None:
    """Raw factors over the run; None if there are none yet, or none are followed.

    Raises:
        UsageError: the process is of other pathways than these networks have.
    """
    process = config.process
    if config.mode == "equally_weighted" or not isinstance(process, SearchedProcess):
        return None
    if process.pathways != tuple(pathways):
        raise UsageError(
            f"the process was searched on {process.searched} with {in_words(process.pathways)}; this run has "
            f"{in_words(pathways)}. Search one for these networks (leave method.process out), or choose places with "
            "method.grid.taps and pathways with method.grid.pairs, stem and transforms that make the grid the same."
        )
    return process.raw if config.mode == "process" else process.raw[-1:]


def in_words(pathways: Sequence[Pathway]) -> str:
    """Their number and what they are made of."""
    teacher, student = (max(getattr(way, side) for way in pathways) for side in ("teacher", "student"))
    transforms = ", ".join(dict.fromkeys(way.transform for way in pathways))
    return f"{len(pathways)} pathways ({teacher} levels of the teacher, {student} of the student; {transforms})"
