"""overhaul_feature_distillation: the student imitates what of the teacher's maps a ReLU lets pass, before the ReLU.

Heo et al. 2019, "A comprehensive overhaul of feature distillation", arXiv:1904.01866 (OFD).
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.maps import STAGE_ENDS_BEFORE_ACTIVATION, pairs_of_maps
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

RARELY = 1e-3
"""Share of negative values below which their mean is not worth computing."""


class OverhaulFeatureDistillationConfig(Strict):
    """Labels, and the teacher's maps before activation, raised to a margin where they are negative.

    Attributes:
        taps: maps before their activation, of the same sizes in both networks.
        weight: of the sum over all elements of an image; the authors' for CIFAR, they have 1e-4 on ImageNet. For
            networks of other families a hundredth of it was better.
        teacher_statistics: of the teacher's batch normalisation. The authors leave it in train mode, `batch`.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["overhaul_feature_distillation"] = "overhaul_feature_distillation"
    taps: TapPairs = STAGE_ENDS_BEFORE_ACTIVATION
    weight: Annotated[float, Field(ge=0)] = 1e-3
    teacher_statistics: Literal["kept", "batch"] = "kept"

    @property
    def needs(self) -> Needs:
        """The teacher's taps, with these statistics."""
        return Needs(teacher="taps", taps=(self.taps,), teacher_statistics=self.teacher_statistics)

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError for other sizes or a teacher without batch normalisation."""
        return OverhaulFeatureDistillation(self, setting)


class OverhaulFeatureDistillation(Method):
    """Cross-entropy with the labels plus the weighted loss; the connectors are no part of the product.

    The margins come from the batch normalisation before each place, so as in the authors' code they know nothing of
    what a shortcut adds after it.
    """

    def __init__(self, config: OverhaulFeatureDistillationConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)
        self.connectors = nn.ModuleList()
        for number, (ours, theirs) in enumerate(self.pairs):
            student, teacher = setting.student[ours], setting.teacher[theirs]
            if student[1:] != teacher[1:]:
                raise UsageError(
                    f"overhaul_feature_distillation compares maps of one size; {ours} of the student gives "
                    f"{tuple(student)}, {theirs} of the teacher {tuple(teacher)}. Name other places in method.taps, or "
                    "give both networks images of another size."
                )
            norm = setting.teacher_norms.get(theirs)
            if norm is None or not norm.affine:
                raise UsageError(
                    f"overhaul_feature_distillation takes its margins from the teacher's batch normalisation; none of "
                    f"{teacher[0]} channels lies before {theirs}. Name other places in method.taps."
                )
            self.connectors.append(_connector(student[0], teacher[0]))
            self.register_buffer(f"margin_{number}", margins(norm.bias.detach(), norm.weight.detach()))

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`feature` (weighted; the deepest map counts once, each before it half as much) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        losses = [
            partial_loss(connect(student.taps[ours]), teacher.taps[theirs], self.get_buffer(f"margin_{number}"))
            / 2 ** (len(self.pairs) - 1 - number)
            for number, (connect, (ours, theirs)) in enumerate(zip(self.connectors, self.pairs, strict=True))
        ]
        return {
            "feature": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def partial_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Sum of (s - max(t, m))^2 over the elements where s is larger than that or t > 0, mean over images.

    Args:
        student: activations [B, C, H, W] before the ReLU.
        teacher: of the same shape, detached.
        margin: m [C] < 0.

    Returns:
        Scalar >= 0.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    raised = torch.maximum(teacher, margin[:, None, None].to(teacher.dtype))
    counts = ((student > raised) | (teacher > 0)).to(student.dtype)
    return ((student - raised).square() * counts).sum() / len(student)


def margins(mean: Tensor, scale: Tensor) -> Tensor:
    """Mean of the negative values of a normal distribution, [C] < 0; -3 deviations where negative values are rare.

    Args:
        mean: [C], the shift of a batch normalisation.
        scale: [C], its factor, whose absolute value is the deviation.
    """
    mean, deviation = mean.double(), scale.double().abs()
    ratio = mean / deviation.clamp_min(torch.finfo(torch.float64).tiny)
    share = torch.special.ndtr(-ratio)
    density = (-0.5 * ratio.square()).exp() / (2 * torch.pi) ** 0.5
    average = mean - deviation * density / share.clamp_min(RARELY)
    return torch.where(share > RARELY, average, -3 * deviation).to(scale.dtype)


def _connector(channels: int, teacher_channels: int) -> nn.Module:
    convolution = nn.Conv2d(channels, teacher_channels, 1, bias=False)
    nn.init.normal_(convolution.weight, 0, (2 / teacher_channels) ** 0.5)
    return nn.Sequential(convolution, nn.BatchNorm2d(teacher_channels))
