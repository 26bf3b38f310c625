"""flow_of_solution_procedure: how one stage's map becomes the next one's is the teacher's way (Yim et al. 2017).

"A gift from knowledge distillation: fast optimization, network minimization and transfer learning".
"""

import itertools
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.hinton_kd import label_and_soft_losses
from distill.methods.maps import pairs_of_maps
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Stage, Temperature
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs

STEMS = TapPairs(student=("stem",), teacher=("stem",))


class FlowOfSolutionProcedureConfig(Strict):
    """The student begins with the teacher's products of consecutive maps, then learns labels. For one family only.

    Attributes:
        taps: maps, each of which is multiplied with the next; both networks need as many channels at each.
        from_stem: the first is the stem's.
        weight: of the products. RepDistiller's 50 multiplies nothing there: its first stage has no weight, its second
            learns labels alone.
        pooling: how the larger of two consecutive maps is brought to the smaller's size; RepDistiller's. The paper has
            `max`.
        first_epochs: of the products alone, as in the paper; None = beside the labels through the whole run.
        soft_weight, temperature: of soft targets afterwards, beside the labels; none in the paper's comparison.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["flow_of_solution_procedure"] = "flow_of_solution_procedure"
    taps: TapPairs = TapPairs()
    from_stem: bool = True
    weight: Annotated[float, Field(ge=0)] = 1.0
    pooling: Literal["average", "max"] = "average"
    first_epochs: Annotated[int, Field(ge=1)] | None = 30
    soft_weight: Annotated[float, Field(ge=0)] = 0.0
    temperature: Temperature = 4.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=((STEMS,) if self.from_stem else ()) + (self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError for networks of other widths."""
        return FlowOfSolutionProcedure(self, setting)


class FlowOfSolutionProcedure(Method):
    """Products first, labels then."""

    def __init__(self, config: FlowOfSolutionProcedureConfig, setting: Setting) -> None:
        super().__init__(config)
        pairs = [pair for taps in config.needs.taps for pair in pairs_of_maps(config.kind, setting, taps)]
        widths = [(setting.student[ours][0], setting.teacher[theirs][0]) for ours, theirs in pairs]
        if len(pairs) < 2 or any(ours != theirs for ours, theirs in widths):
            ours, theirs = (", ".join(str(pair[side]) for pair in widths) for side in (0, 1))
            raise UsageError(
                "flow_of_solution_procedure compares products of consecutive maps, so it is for two networks of one "
                f"family: two maps or more with as many channels in both. The student's have {ours}, the teacher's "
                f"{theirs}. Take a teacher as wide as the student, or another method."
            )
        self.pairs = tuple(pairs)
        self.guided = frozenset[str]().union(*(setting.upstream[ours] for ours, _ in self.pairs))

    def stages(self) -> tuple[Stage, ...]:
        """Flow and distillation, or one."""
        if self.config.first_epochs is None:
            return super().stages()
        return (
            Stage("flow", self.config.first_epochs, self.flow, trains=lambda name: name in self.guided, judged=False),
            Stage("distillation", losses=self.distillation),
        )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`flow` (weighted), `label` and perhaps `soft`, all >= 0: both stages at once."""
        return {**self.flow(students, teacher, samples), **self.distillation(students, teacher, samples)}

    def flow(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`flow` (weighted), >= 0, summed over the consecutive maps."""
        assert teacher is not None
        (student,) = students
        maps = [(student.taps[ours], teacher.taps[theirs]) for ours, theirs in self.pairs]
        losses = [
            (
                products(theirs, their_next, pooling=self.config.pooling)
                - products(ours, our_next, pooling=self.config.pooling)
            )
            .square()
            .mean()
            for (ours, theirs), (our_next, their_next) in itertools.pairwise(maps)
        ]
        return {"flow": self.config.weight * torch.stack(losses).sum()}

    def distillation(
        self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples
    ) -> dict[str, Tensor]:
        """`label`, and `soft` where it has a weight, both >= 0."""
        assert teacher is not None
        (student,) = students
        weight, temperature = self.config.soft_weight, self.config.temperature
        return label_and_soft_losses(student, teacher, samples, soft_weight=weight, temperature=temperature)


def products(first: Tensor, second: Tensor, *, pooling: Literal["average", "max"]) -> Tensor:
    """G [B, C, C'] of maps [B, C, H, W] and [B, C', H', W']: the mean over the picture of the products of two channels.

    The loss is the mean over images and elements of the squared difference of two such matrices, as in RepDistiller;
    torchdistill adds the norms of their columns.
    """
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    pool = F.adaptive_avg_pool2d if pooling == "average" else F.adaptive_max_pool2d
    left, right = (pool(at_least_float32(maps), size).flatten(2) for maps in (first, second))
    with full_precision(left):
        return torch.bmm(left, right.transpose(1, 2)) / left.shape[2]
