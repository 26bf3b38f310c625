"""variational_information: the student's maps shall tell as much as possible of the teacher's (Ahn et al. 2019).

"Variational information distillation for knowledge transfer", arXiv:1904.05835.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.maps import at_one_size, pairs_of_maps
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.taps import TapPairs

LEAST_VARIANCE = 1e-5


class VariationalInformationConfig(Strict):
    """Labels, and a Gaussian model of the teacher's activations given the student's, trained with it.

    Attributes:
        taps: maps that are compared; they may differ in size and number of channels.
        weight: lambda; RepDistiller's.
        first_variance: of every channel before training.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["variational_information"] = "variational_information"
    taps: TapPairs = TapPairs()
    weight: Annotated[float, Field(ge=0)] = 1.0
    first_variance: Annotated[float, Field(gt=2 * LEAST_VARIANCE)] = 5.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return VariationalInformation(self, setting)


class VariationalInformation(Method):
    """Cross-entropy with the labels plus the weighted negative log-likelihoods, summed over the maps compared."""

    def __init__(self, config: VariationalInformationConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)
        self.gaussians = nn.ModuleList(
            Gaussian(setting.student[ours][0], setting.teacher[theirs][0], variance=config.first_variance)
            for ours, theirs in self.pairs
        )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`information` (weighted; less than 0 where variances are small) and `label`."""
        assert teacher is not None
        (student,) = students
        losses = [
            gaussian(student.taps[ours], teacher.taps[theirs])
            for gaussian, (ours, theirs) in zip(self.gaussians, self.pairs, strict=True)
        ]
        return {
            "information": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


class Gaussian(nn.Module):
    """Of a teacher's map given a student's: the mean by three 1x1 convolutions, a variance for each channel."""

    def __init__(self, channels: int, teacher_channels: int, *, variance: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        self.rho = nn.Parameter(torch.full((teacher_channels,), math.log(math.expm1(variance - LEAST_VARIANCE))))

    def variance(self) -> Tensor:
        """[C'] > 0."""
        return F.softplus(self.rho) + LEAST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of maps [B, C, H, W] and [B, C', H', W'], detached; the larger is averaged down to the smaller."""
        student, teacher = at_one_size(student, teacher)
        return information_loss(self.mean(student), teacher, self.variance())


def information_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """Mean over all elements of ((mean - teacher)^2 / variance + log variance) / 2.

    The negative log-likelihood without its constant, in nats.

    Args:
        mean: [B, C, H, W], what the student makes of the teacher's map.
        teacher: [B, C, H, W], detached.
        variance: [C] > 0.

    Returns:
        Scalar of either sign.
    """
    of_channel = variance[:, None, None].to(teacher.dtype)
    return (0.5 * ((mean.to(teacher.dtype) - teacher).square() / of_channel + of_channel.log())).mean()
