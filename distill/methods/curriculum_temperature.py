"""curriculum_temperature: KD whose temperature is learned against the student (Li et al. 2023, arXiv:2211.16231).

Echo-view KD paper, Eq. 5-7: theta climbs the distillation loss while the student descends it, and lambda makes the
task harder epoch by epoch.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.hinton_kd import soft_target_loss
from distill.methods.method import (
    HIGHEST_TEMPERATURE,
    Balance,
    Family,
    Method,
    Needs,
    Outputs,
    Samples,
    Setting,
    Temperature,
)


class CurriculumTemperatureConfig(Strict):
    """KD with a temperature that is learned adversarially, on a linear or cosine curriculum.

    Attributes:
        alpha: weight of the soft targets; 1 - alpha weighs the labels.
        schedule: how lambda goes from `lambda_min` to `lambda_max`.
        capped_epochs: E_cap of Eq. 7: the (1-based) epoch from which lambda stays at its maximum.
        temperature_start, temperature_range: T = start + range * sigmoid(theta), so T lies in (start, start + range).
    """

    needs: ClassVar[Needs] = Needs()
    family: ClassVar[Family] = "soft targets"

    kind: Literal["curriculum_temperature"] = "curriculum_temperature"
    alpha: Balance = 0.5
    schedule: Literal["linear", "cosine"] = "cosine"
    lambda_min: Annotated[float, Field(ge=0)] = 0.0
    lambda_max: Annotated[float, Field(ge=0)] = 1.0
    capped_epochs: Annotated[int, Field(ge=1)] = 10
    temperature_start: Temperature = 1.0
    temperature_range: Annotated[float, Field(gt=0)] = 20.0

    @model_validator(mode="after")
    def _check(self) -> "CurriculumTemperatureConfig":
        if self.temperature_start + self.temperature_range > HIGHEST_TEMPERATURE:
            raise ValueError(
                f"T may rise to temperature_start + temperature_range, which must not exceed {HIGHEST_TEMPERATURE:g}"
            )
        return self

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return CurriculumTemperature(self)

    def curriculum(self, epoch: int) -> float:
        """Lambda of Eq. 7 (or its linear sibling) in a 1-based epoch.

        Deviation: the authors' linear schedule stops at 0.9 of the way; this one reaches `lambda_max`, as printed.
        """
        progress = min(epoch, self.capped_epochs) / self.capped_epochs
        if self.schedule == "cosine":
            progress = 0.5 * (1 + math.cos((1 + progress) * math.pi))
        return self.lambda_min + (self.lambda_max - self.lambda_min) * progress


class CurriculumTemperature(Method):
    """Eq. 4 with a learned global T, inside and outside the divergence.

    Theta starts at 1 as in the authors' code, so T starts at 15.62 with the default range.
    """

    theta: nn.Parameter

    def __init__(self, config: CurriculumTemperatureConfig) -> None:
        super().__init__(config)
        self.theta = nn.Parameter(torch.ones(()))
        self.curriculum = config.curriculum(1)

    def start_epoch(self, epoch: int) -> None:
        """Lambda grows with the epoch (1-based)."""
        self.curriculum = self.config.curriculum(epoch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Theta at lambda times the student's rate, without weight decay.

        Deviations: the authors multiply theta's gradient by lambda, which the optimizers that divide a gradient by its
        own scale (AdamW) undo; here lambda multiplies the step. With SGD that is the same, but that a velocity gathered
        under an earlier lambda counts with today's. And in the authors' code theta shares the student's weight decay,
        which pulls T towards the middle.
        """
        return [{"params": [self.theta], "weight_decay": 0.0, "lr_factor": self.curriculum}]

    def temperature(self) -> Tensor:
        """T, a scalar with gradient."""
        return self.config.temperature_start + self.config.temperature_range * torch.sigmoid(self.theta)

    def scalars(self) -> dict[str, float]:
        """`temperature` and `lambda` as of now."""
        return {"temperature": self.temperature().item(), "lambda": self.curriculum}

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`soft` and `label`, weighted by alpha and 1 - alpha."""
        assert teacher is not None
        (student,) = students
        temperature = reversed_gradient(self.temperature())
        soft = soft_target_loss(student.logits, teacher.logits, temperature=temperature)
        return {
            "soft": self.config.alpha * soft,
            "label": (1 - self.config.alpha) * samples.label_loss(student.logits),
        }


def reversed_gradient(value: Tensor) -> Tensor:
    """`value`, whose gradient changes its sign: a descent on the loss becomes Eq. 6's ascent for `value`."""
    return _ReversedGradient.apply(value)  # pyright: ignore[reportReturnType]


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]
