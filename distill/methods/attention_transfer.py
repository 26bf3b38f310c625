"""attention_transfer: the student looks where the teacher looks (Zagoruyko and Komodakis 2017, arXiv:1612.03928)."""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs


class AttentionTransferConfig(Strict):
    """Labels, and where in the picture the teacher's activations are large.

    Attributes:
        taps: maps that are compared; they may differ in size and number of channels.
        weight: beta; RepDistiller's, for its mean over pixels.
        power: p of the sum over channels of |activation|^p; RepDistiller's. The PURSUhInT paper has 1 on ImageNet.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["attention_transfer"] = "attention_transfer"
    taps: TapPairs = TapPairs()
    weight: Annotated[float, Field(ge=0)] = 1000.0
    power: Annotated[float, Field(ge=1)] = 2.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps to look at."""
        return AttentionTransfer(self, setting)


class AttentionTransfer(Method):
    """Cross-entropy with the labels plus the weighted loss, summed over the maps compared."""

    def __init__(self, config: AttentionTransferConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)
        shapes = [(setting.student[ours], setting.teacher[theirs]) for ours, theirs in self.pairs]
        are_maps = all(len(shape) == 3 for pair in shapes for shape in pair)
        if not are_maps or all(min(ours[1:].numel(), theirs[1:].numel()) == 1 for ours, theirs in shapes):
            raise UsageError(
                "attention_transfer compares maps [C, H, W] of more than one pixel; method.taps gives "
                f"{', '.join(f'{tuple(ours)} and {tuple(theirs)}' for ours, theirs in shapes)}. Name other places, or "
                "use larger images."
            )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`attention` (weighted) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        power = self.config.power
        losses = [attention_loss(student.taps[ours], teacher.taps[theirs], power=power) for ours, theirs in self.pairs]
        return {
            "attention": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def attention_loss(student: Tensor, teacher: Tensor, *, power: float) -> Tensor:
    """Mean over images and pixels of the squared difference of two attention maps, each of length 1.

    As in the authors' code; the paper has half the length of the difference. The larger map is averaged down to the
    smaller. Deviations: height and width both count, there it is the height; and the absolute value is taken before an
    odd power, which there leaves negative activations negative.

    Args:
        student: activations [B, C, H, W].
        teacher: activations [B, C', H', W'], detached.
        power: p >= 1.

    Returns:
        Scalar >= 0.
    """
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    ours, theirs = (
        attention(F.adaptive_avg_pool2d(at_least_float32(maps), size), power) for maps in (student, teacher)
    )
    return (ours - theirs).square().mean()


def attention(maps: Tensor, power: float) -> Tensor:
    """Maps [B, C, H, W] -> [B, H * W]: the mean over the channels of |activation|^power, each image's of length 1."""
    return F.normalize(maps.abs().pow(power).mean(dim=1).flatten(1), dim=1)
