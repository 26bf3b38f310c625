"""fitnet: the student's activations, adapted, imitate the teacher's (Romero et al. 2015, arXiv:1412.6550)."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Stage, Temperature
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

THREE_DEEPEST = ("stage-end:-3", "stage-end:-2", "stage-end:-1")


class HintsFirst(Strict):
    """The paper's two stages: some epochs of hints alone, then distillation without hints.

    Attributes:
        hint_epochs: of the first stage, in which the student learns up to the places compared.
        temperature: of the soft targets in the second; the paper's.
        soft_weight_start, soft_weight_end: lambda of the paper, which falls linearly over the second stage.
    """

    hint_epochs: Annotated[int, Field(ge=1)]
    temperature: Temperature = 3.0
    soft_weight_start: Annotated[float, Field(ge=0)] = 4.0
    soft_weight_end: Annotated[float, Field(ge=0)] = 1.0


class FitNetConfig(Strict):
    """Labels and hints: the student's activations, adapted by a convolution, imitate the teacher's.

    Attributes:
        taps: where; three hints, the deepest, as in the PURSUhInT paper. The original has one, in the middle.
        weight: of the hints beside the labels; RepDistiller's.
        rectified: adapted activations pass a ReLU. Not for a teacher's activations that may be negative.
        hints_first: None = hints and labels together, which is how the method is compared today.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["fitnet"] = "fitnet"
    taps: TapPairs = TapPairs(student=THREE_DEEPEST, teacher=THREE_DEEPEST)
    weight: Annotated[float, Field(ge=0)] = 100.0
    rectified: bool = True
    hints_first: HintsFirst | None = None

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where no adapter fits a map of the student."""
        return FitNet(self, setting)


class FitNet(Method):
    """Mean squared differences between adapted and wanted activations, summed over the hints.

    The adapters are trained with the student and no part of the product.
    """

    def __init__(self, config: FitNetConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)
        self.guided = frozenset[str]().union(*(setting.upstream[ours] for ours, _ in self.pairs))
        self.adapters = nn.ModuleList(
            adapter(ours, setting.student[ours], setting.teacher[theirs], rectified=config.rectified)
            for ours, theirs in self.pairs
        )
        self.progress = 0.0

    def stages(self) -> tuple[Stage, ...]:
        """One, or the paper's two."""
        settings: HintsFirst | None = self.config.hints_first
        if settings is None:
            return super().stages()
        return (
            Stage("hints", settings.hint_epochs, self.hints, trains=self.is_guided, judged=False),
            Stage("distillation", losses=self.distillation, trains=lambda name: name.startswith("students.")),
        )

    def is_guided(self, name: str) -> bool:
        """Whether the hints depend on a parameter."""
        return name in self.guided or name.startswith("method.")

    def start_step(self, progress: float) -> None:
        """Of the second stage, over which lambda falls."""
        self.progress = progress

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`hint` (weighted) and `label`, both >= 0."""
        (student,) = students
        return {
            **self.hints(students, teacher, samples),
            "label": samples.label_loss(student.logits),
        }

    def hints(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`hint` (weighted), >= 0: the first of two stages."""
        assert teacher is not None
        (student,) = students
        losses = [
            hint_loss(adapt(student.taps[ours]), teacher.taps[theirs])
            for adapt, (ours, theirs) in zip(self.adapters, self.pairs, strict=True)
        ]
        return {"hint": self.config.weight * torch.stack(losses).sum()}

    def distillation(
        self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples
    ) -> dict[str, Tensor]:
        """`soft` (times lambda) and `label`, both >= 0: the second of two stages.

        As in the paper the soft targets are not multiplied by T^2. Deviation: a divergence, not a cross-entropy, which
        is the same but for the teacher's entropy.
        """
        assert teacher is not None
        (student,) = students
        settings: HintsFirst = self.config.hints_first
        first, last = settings.soft_weight_start, settings.soft_weight_end
        soft = soft_target_loss(student.logits, teacher.logits, temperature=settings.temperature)
        return {
            "soft": (first + (last - first) * self.progress) * soft / settings.temperature**2,
            "label": samples.label_loss(student.logits),
        }


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of an adapted activation [B, C, H, W] and the teacher's of that shape, detached."""
    return (at_least_float32(student) - at_least_float32(teacher)).square().mean()


def adapter(place: str, student: torch.Size, teacher: torch.Size, *, rectified: bool) -> nn.Module:
    """A convolution from a student's map [C, H, W] to the shape of a teacher's, batch normalisation, perhaps a ReLU.

    As in RepDistiller: to half the size by 3x3 with stride 2, to twice the size by a transposed 4x4, else a kernel that
    covers the difference (1x1 if there is none). Deviation: height and width count, there it is the height.

    Raises:
        UsageError: an activation that is no map, or a student's map that is smaller and not half as large.
    """
    if len(student) != 3 or len(teacher) != 3:
        raise UsageError(
            f"the method compares maps [C, H, W]; {place} gives {tuple(student)}, its counterpart {tuple(teacher)}. "
            "Name other places in method.taps."
        )
    (channels, *size), (wanted_channels, *wanted) = student, teacher
    if all(mine == 2 * its for mine, its in zip(size, wanted, strict=True)):
        resize: nn.Module = nn.Conv2d(channels, wanted_channels, 3, stride=2, padding=1)
    elif all(2 * mine == its for mine, its in zip(size, wanted, strict=True)):
        resize = nn.ConvTranspose2d(channels, wanted_channels, 4, stride=2, padding=1)
    elif all(mine >= its for mine, its in zip(size, wanted, strict=True)):
        height, width = (1 + mine - its for mine, its in zip(size, wanted, strict=True))
        resize = nn.Conv2d(channels, wanted_channels, (height, width))
    else:
        raise UsageError(
            f"there is no adapter from the student's {tuple(student)} at {place} to the teacher's {tuple(teacher)}: "
            "it may be of the same size, half as large or larger. Name other places in method.taps."
        )
    return nn.Sequential(resize, nn.BatchNorm2d(wanted_channels), *([nn.ReLU()] if rectified else []))
