"""review_kd: shallow maps of the teacher teach deep ones of the student, too, by one review from the deepest on.

Chen et al. 2021, "Distilling knowledge via knowledge review", arXiv:2104.09044: attention-based fusion (ABF) of the
student's maps and a hierarchical context loss (HCL).
"""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.maps import POOLED, as_map, map_shape
from distill.methods.method import ALL_TASKS, Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

MOST_CHANNELS = 512
CONTEXT_SIDES = (4, 2, 1)
"""To which a map is averaged down for the coarser parts of the loss."""


class ReviewKDConfig(Strict):
    """Labels, and every map of the teacher taught to the student's map of that level fused with all deeper ones.

    Attributes:
        taps: levels, one with one: after activation of the student, before it of the teacher, as the authors have.
            Maps, tokens [N, C] of a transformer, or vectors.
        pooled: the vectors before the classifiers are the deepest level.
        weight: of the sum over the levels; the authors' for most pairs on CIFAR-100, others have 0.6 to 8.
        warmup_epochs: over which the weight grows from nothing; 0 = none.
        first_epoch: number of the first epoch in the warm-up: 0 as the authors count, which gives it no weight at all,
            or 1.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["review_kd"] = "review_kd"
    taps: TapPairs = TapPairs(student="stage-ends", teacher="stage-ends:pre")
    pooled: bool = True
    weight: Annotated[float, Field(ge=0)] = 5.0
    warmup_epochs: Annotated[float, Field(ge=0)] = 20.0
    first_epoch: Literal[0, 1] = 0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps, POOLED) if self.pooled else (self.taps,), tasks=ALL_TASKS)

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return ReviewKD(self, setting)


class ReviewKD(Method):
    """Cross-entropy with the labels plus the weighted loss; the fusions are trained beside and no part of the product.

    Deviation: the teacher is in eval mode, which the authors' code for CIFAR leaves out.
    """

    def __init__(self, config: ReviewKDConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = [pair for taps in config.needs.taps for pair in setting.pairs(taps)][::-1]
        student = [map_shape(config.kind, setting.student[ours]) for ours, _ in self.pairs]
        teacher = [map_shape(config.kind, setting.teacher[theirs]) for _, theirs in self.pairs]
        middle = min(MOST_CHANNELS, student[0][0])
        self.fusions = nn.ModuleList(
            Fusion(ours[0], middle, theirs, deepest=number == 0)
            for number, (ours, theirs) in enumerate(zip(student, teacher, strict=True))
        )
        self.share_of_weight = 1.0

    def start_epoch(self, epoch: int) -> None:
        """The warm-up's."""
        if self.config.warmup_epochs:
            moment = epoch - 1 + self.config.first_epoch
            self.share_of_weight = min(1.0, moment / self.config.warmup_epochs)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`review` (weighted) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        deeper, losses = None, []
        for fuse, (ours, theirs) in zip(self.fusions, self.pairs, strict=True):
            reviewed, deeper = fuse(as_map(student.taps[ours]), deeper)
            losses.append(hierarchical_context_loss(reviewed, as_map(teacher.taps[theirs])))
        review = self.config.weight * self.share_of_weight * torch.stack(losses).sum()
        return {"review": review, "label": samples.label_loss(student.logits)}


class Fusion(nn.Module):
    """Attention-based fusion (Fig. 2 of the paper): a map of the student with what came from the deeper ones."""

    def __init__(self, channels: int, middle: int, teacher: torch.Size, *, deepest: bool) -> None:
        super().__init__()
        self.size = (teacher[1], teacher[2])
        self.enter = nn.Sequential(nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.attention = None if deepest else nn.Conv2d(2 * middle, 2, 1)
        self.leave = nn.Sequential(nn.Conv2d(middle, teacher[0], 3, padding=1, bias=False), nn.BatchNorm2d(teacher[0]))
        for convolution in (self.enter[0], self.leave[0]):
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps [B, C, H, W] and the deeper [B, middle, h, w] -> what the teacher is compared with, what is passed on.

        Both have the height and width of the teacher's map at this level.
        """
        fused = self.enter(maps)
        if self.attention is not None:
            assert deeper is not None
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            shares = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        if fused.shape[2:] != self.size:
            fused = F.interpolate(fused, self.size, mode="nearest")
        return self.leave(fused), fused


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: mean squared difference of two maps and of both averaged down to 4x4, 2x2 and 1x1, each half the last one's.

    A weighted mean: the weights 1, 1/2, 1/4 ... are divided by their sum. Sides that are not less than the map's are
    left out. Deviation: of maps that are no squares the smaller side counts, the authors look at the height.

    Args:
        student: [B, C, H, W].
        teacher: of that shape, detached.

    Returns:
        Scalar >= 0, mean over batch, channels and places.
    """
    # Averaging is linear, so the difference of the averages is the average of the difference.
    difference = at_least_float32(student) - at_least_float32(teacher)
    sides = [side for side in CONTEXT_SIDES if side < min(difference.shape[2:])]
    loss, weight, total = difference.square().mean(), 1.0, 1.0
    for side in sides:
        # Of squares that tile the map the average of averages is the average of all, and reads less.
        tiled = all(length % side == 0 for length in difference.shape[2:])
        averaged = F.adaptive_avg_pool2d(difference, side)
        difference = averaged if tiled else difference
        weight /= 2
        total += weight
        loss = loss + weight * averaged.square().mean()
    return loss / total
