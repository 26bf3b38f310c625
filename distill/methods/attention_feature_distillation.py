"""attention_feature_distillation: which map of the student learns from which of the teacher's is learnt, too.

Ji et al. 2021, "Show, attend and distill: knowledge distillation via attention-based feature matching" (AFD),
arXiv:2102.02973.
"""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.hinton_kd import label_and_soft_losses
from distill.methods.maps import require_maps, unit_length
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Temperature
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs


class AttentionFeatureDistillationConfig(Strict):
    """Labels, soft targets, and every map of the teacher taught to those of the student that attend to it.

    Attributes:
        taps: candidates on both sides; all blocks, as the authors have. They are not compared one with one.
        every: of a row such as `blocks` only each such candidate is taken, counted from the deepest; the authors take
            every second block of a ResNet-110.
        weight: beta; the authors' for WRN-40-2 and WRN-16-2.
        dimensions: of queries and keys.
        soft_weight, temperature: of the soft targets beside labels of weight 1; the authors'.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["attention_feature_distillation"] = "attention_feature_distillation"
    taps: TapPairs = TapPairs(student="blocks", teacher="blocks")
    every: Annotated[int, Field(ge=1)] = 1
    weight: Annotated[float, Field(ge=0)] = 200.0
    dimensions: Annotated[int, Field(ge=1)] = 128
    soft_weight: Annotated[float, Field(ge=0)] = 0.9
    temperature: Temperature = 4.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return AttentionFeatureDistillation(self, setting)


class AttentionFeatureDistillation(Method):
    """Cross-entropy with the labels plus soft targets plus the weighted loss; the attention is trained beside them.

    Deviation: every map of the teacher has the student's maps averaged down to its own size; the authors look that up
    among the sizes that differ, and find a wrong one where a size comes back after another.
    """

    def __init__(self, config: AttentionFeatureDistillationConfig, setting: Setting) -> None:
        super().__init__(config)
        places = setting.places[config.taps]
        self.ours, self.theirs = (
            side[:: -config.every][::-1] if isinstance(row, str) else side
            for side, row in ((places.student, config.taps.student), (places.teacher, config.taps.teacher))
        )
        student = [setting.student[place] for place in self.ours]
        teacher = [setting.teacher[place] for place in self.theirs]
        require_maps(config.kind, [*student, *teacher])
        size = config.dimensions
        self.keys = nn.ModuleList(_normalised(shape[0], size, rectified=True) for shape in student)
        self.queries = nn.ModuleList(_normalised(shape[0], size) for shape in teacher)
        self.bilinear = _normalised(size, size * len(teacher))
        self.student_positions = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(student), size)))
        self.teacher_positions = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(teacher), size)))

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`feature` and `soft` (both weighted) and `label`, all >= 0; no `soft` if it has no weight."""
        assert teacher is not None
        (student,) = students
        ours = [at_least_float32(student.taps[place]) for place in self.ours]
        theirs = [at_least_float32(teacher.taps[place]) for place in self.theirs]
        feature = self.config.weight * attended_loss(ours, theirs, self.attention(ours, theirs))
        weight, temperature = self.config.soft_weight, self.config.temperature
        beside = label_and_soft_losses(student, teacher, samples, soft_weight=weight, temperature=temperature)
        return {"feature": feature, **beside}

    def attention(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """How much each map of the teacher teaches each of the student's: [B, theirs, ours], each row's sum 1."""
        size, batch = self.config.dimensions, len(student[0])
        keys = torch.stack([key(maps.mean((2, 3))) for key, maps in zip(self.keys, student, strict=True)], dim=1)
        queries = torch.stack([ask(maps.mean((2, 3))) for ask, maps in zip(self.queries, teacher, strict=True)], dim=1)
        keys = self.bilinear(keys.flatten(0, 1)).view(batch, len(student), len(teacher), size)
        products = torch.einsum("bstq,btq->bts", at_least_float32(keys), at_least_float32(queries))
        return ((products + self.teacher_positions @ self.student_positions.T) / size**0.5).softmax(dim=2)


def attended_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], attention: Tensor) -> Tensor:
    """Sum over the teacher's maps of the attended mean squared difference of two pictures, mean over images.

    A picture is the mean over the channels of the squared activations, of length 1; the student's maps are squared and
    averaged down or up to the size of the teacher's first.

    Args:
        student: activations [B, C, H, W] of any sizes.
        teacher: of any sizes, detached.
        attention: [B, theirs, ours].

    Returns:
        Scalar >= 0.
    """
    squared = [maps.square().mean(1, keepdim=True) for maps in student]

    @cache
    def sized(height: int, width: int) -> Tensor:
        pictures = [F.adaptive_avg_pool2d(picture, (height, width)).flatten(1) for picture in squared]
        return unit_length(torch.stack(pictures, dim=1), dim=2)

    losses = []
    for number, maps in enumerate(teacher):
        wanted = unit_length(maps.square().mean(1).flatten(1))[:, None]
        differences = (sized(*maps.shape[2:]) - wanted).square().mean(2)
        losses.append((attention[:, number] * differences).sum(1).mean())
    return torch.stack(losses).sum()


def _normalised(inputs: int, outputs: int, *, rectified: bool = False) -> nn.Module:
    layers = [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if rectified else []))
