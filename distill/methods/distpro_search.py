"""distpro_search: how much each pathway shall weigh is learnt while a student learns (`distill.process`).

Deng et al. 2022, "DistPro: searching a fast knowledge distillation process via meta optimization", arXiv:2204.05547.
"""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import Diverged
from distill.methods.method import ALL_TASKS, Family, Method, Needs, Outputs, Samples, Setting, Stepper
from distill.process.normalisation import Normalisation, normalised
from distill.process.pathways import Distances, Grid
from distill.process.search import Search
from distill.process.settings import AdamFactors, FactorOptimizer, HeldBack

if TYPE_CHECKING:  # they know every method
    from distill.checkpoint import Training
    from distill.training.batches import Batch
    from distill.training.step import Step

FIRST_FACTOR = 1.0
"""Of every pathway, raw (alpha_0 of Algorithm 1)."""


class DistProSearchConfig(Strict):
    """Labels and all pathways from the teacher's maps to the student's, whose weights are searched as it learns.

    What comes of it is `process.json` in the run's folder, for `distpro`; the student is a by-product.

    Attributes:
        grid: which pathways there are.
        normalisation: from raw factors to weights.
        weight: of the mean over the pathways where all weigh alike; 1 is the authors'. ReviewKD with the weight w has
            about as much at 4 w divided by the number of pathways.
        factors: how the raw factors learn.
        held_back: share of the training images whose error decides; by patient where patients are known.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["distpro_search"] = "distpro_search"
    grid: Grid = Grid()
    normalisation: Normalisation = "biased_softmax"
    weight: Annotated[float, Field(ge=0)] = 1.0
    factors: FactorOptimizer = AdamFactors()
    held_back: HeldBack = 0.2

    @property
    def needs(self) -> Needs:
        """The teacher's taps, images held back, and one process: what lies ahead is not averaged over several."""
        return Needs(teacher="taps", taps=self.grid.needs, held_back=self.held_back, one_process=True, tasks=ALL_TASKS)

    def build(self, setting: Setting) -> Method:
        """The module that searches; raises UsageError for networks without two levels of maps each."""
        return DistProSearch(self, setting)


class DistProSearch(Method):
    """Label loss and weighted distances of all pathways (Eq. 2), times their number and the setting's weight.

    Attributes:
        raw: raw factors, [L]; trained by the stepper, by no optimizer of the loop.
        scale: the weighted sum is multiplied by it.
    """

    raw: Tensor

    def __init__(self, config: DistProSearchConfig, setting: Setting) -> None:
        super().__init__(config)
        self.distances = Distances(config.kind, config.grid, setting)
        self.scale = config.weight * len(self.distances)
        self.register_buffer("raw", torch.full((len(self.distances),), FIRST_FACTOR))
        self.sums: list[Tensor] = []
        self.counts: list[int] = []

    def start_epoch(self, epoch: int) -> None:
        """Begin a row of the process."""
        self.sums = [*self.sums[: epoch - 1], torch.zeros_like(self.raw)]
        self.counts = [*self.counts[: epoch - 1], 0]

    def note_factors(self) -> None:
        """The factors as they are now, for the process."""
        self.sums[-1] = self.sums[-1] + self.raw
        self.counts[-1] += 1

    def process(self) -> list[list[float]]:
        """Raw factors, the mean over each epoch."""
        pairs = zip(self.sums, self.counts, strict=True)
        return [(total.double() / count).tolist() for total, count in pairs if count]

    def weights_of(self, raw: Tensor) -> Tensor:
        """Weights [L] of raw factors [L]."""
        return normalised(raw, self.config.normalisation)

    def scalars(self) -> dict[str, float]:
        """What all pathways from a level of the teacher weigh together.

        Raises:
            Diverged: a factor is not finite.
        """
        weights = self.weights_of(self.raw).tolist()
        if not all(map(isfinite, weights)):
            raise Diverged(
                "the weights of the pathways are not finite any more, so the epoch is not kept; the state of the one "
                "before is. A lower method.factors.lr, training.optimizer.lr or method.weight usually helps, with "
                "--restart."
            )
        levels: dict[str, float] = {}
        for way, weight in zip(self.distances.pathways, weights, strict=True):
            name = f"weight_of_teacher_level_{way.teacher}"
            levels[name] = levels.get(name, 0.0) + weight
        return levels

    def stepper(self, plain: "Step", held_back: "Iterator[Batch] | None") -> Stepper:
        """The search."""
        assert held_back is not None
        return Search(self, plain, held_back)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`feature` (weighted) and `label`, both >= 0."""
        return self.losses(self.parts(students, teacher, samples))

    def parts(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`distances` of the pathways [L] and `label`, of which the losses are made for any weights."""
        assert teacher is not None
        (student,) = students
        return {"distances": self.distances(student, teacher), "label": samples.label_loss(student.logits)}

    def losses(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `forward`, from its parts, with the weights as they are now; parts that are no distances stay."""
        rest = {name: part for name, part in parts.items() if name != "distances"}
        return {"feature": self.scale * (self.weights_of(self.raw) * parts["distances"]).sum(), **rest}

    def leave(self, folder: Path, training: "Training") -> None:
        """Write `process.json` and its picture."""
        from distill.process.products import write_process

        write_process(folder, self, training)

    def get_extra_state(self) -> dict[str, Any]:
        """The process so far."""
        return {"sums": list(self.sums), "counts": list(self.counts)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put an earlier one back."""
        self.sums = [total.to(self.raw.device) for total in state["sums"]]
        self.counts = list(state["counts"])
