"""activation_boundaries: the student's neurons are on where the teacher's are (Heo et al. 2019, arXiv:1811.03233)."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.fitnet import adapter
from distill.methods.hinton_kd import label_and_soft_losses
from distill.methods.maps import STAGE_ENDS_BEFORE_ACTIVATION, pairs_of_maps
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Stage, Temperature
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs


class ActivationBoundariesConfig(Strict):
    """The student begins with the teacher's activation boundaries, then learns labels.

    Attributes:
        taps: maps before their activation.
        weight: of the boundary loss; RepDistiller's, for its sum over all neurons of an image.
        margin: how far beyond the boundary an activation shall lie; the authors'.
        first_epochs: of the boundaries alone, as in the paper; None = beside the labels through the whole run.
        soft_weight, temperature: of soft targets afterwards, beside the labels; none in the paper's comparison.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["activation_boundaries"] = "activation_boundaries"
    taps: TapPairs = STAGE_ENDS_BEFORE_ACTIVATION
    weight: Annotated[float, Field(ge=0)] = 3e-3
    margin: Annotated[float, Field(gt=0)] = 1.0
    first_epochs: Annotated[int, Field(ge=1)] | None = 30
    soft_weight: Annotated[float, Field(ge=0)] = 0.0
    temperature: Temperature = 4.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where no connector fits a map of the student."""
        return ActivationBoundaries(self, setting)


class ActivationBoundaries(Method):
    """Boundaries first, labels then; the connectors are no part of the product.

    Deviation: the first stage trains all that the places depend on; the authors' leaves the last batch normalisation of
    a WRN out, though the deepest map passes it.
    """

    def __init__(self, config: ActivationBoundariesConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)
        self.guided = frozenset[str]().union(*(setting.upstream[ours] for ours, _ in self.pairs))
        self.connectors = nn.ModuleList(
            nn.Identity()
            if setting.student[ours] == setting.teacher[theirs]
            else adapter(ours, setting.student[ours], setting.teacher[theirs], rectified=False)
            for ours, theirs in self.pairs
        )

    def stages(self) -> tuple[Stage, ...]:
        """Boundaries and distillation, or one."""
        if self.config.first_epochs is None:
            return super().stages()
        return (
            Stage("boundaries", self.config.first_epochs, self.boundaries, trains=self.is_guided, judged=False),
            Stage("distillation", losses=self.distillation, trains=lambda name: name.startswith("students.")),
        )

    def is_guided(self, name: str) -> bool:
        """Whether the boundaries depend on a parameter."""
        return name in self.guided or name.startswith("method.")

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`boundary` (weighted), `label` and perhaps `soft`, all >= 0: both stages at once."""
        return {**self.boundaries(students, teacher, samples), **self.distillation(students, teacher, samples)}

    def boundaries(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`boundary` (weighted), >= 0: the deepest map counts once, each before it half as much as the next."""
        assert teacher is not None
        (student,) = students
        losses = [
            boundary_loss(connect(student.taps[ours]), teacher.taps[theirs], margin=self.config.margin)
            / 2 ** (len(self.pairs) - 1 - number)
            for number, (connect, (ours, theirs)) in enumerate(zip(self.connectors, self.pairs, strict=True))
        ]
        return {"boundary": self.config.weight * torch.stack(losses).sum()}

    def distillation(
        self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples
    ) -> dict[str, Tensor]:
        """`label`, and `soft` where it has a weight, both >= 0."""
        assert teacher is not None
        (student,) = students
        weight, temperature = self.config.soft_weight, self.config.temperature
        return label_and_soft_losses(student, teacher, samples, soft_weight=weight, temperature=temperature)


def boundary_loss(student: Tensor, teacher: Tensor, *, margin: float) -> Tensor:
    """Sum over the neurons of (s + m)^2 where s > -m but t <= 0, and of (s - m)^2 where s <= m but t > 0.

    Args:
        student: activations [B, C, H, W] before the ReLU.
        teacher: of the same shape, detached.
        margin: m > 0.

    Returns:
        Scalar >= 0, mean over images.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    on = teacher > 0
    too_high = ((student > -margin) & ~on).to(student.dtype)
    too_low = ((student <= margin) & on).to(student.dtype)
    return ((student + margin).square() * too_high + (student - margin).square() * too_low).sum() / len(student)
