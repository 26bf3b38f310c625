"""factor_transfer: the student translates what it sees into factors that the teacher's paraphraser found.

Kim et al. 2018, "Paraphrasing complex network: network compression via factor transfer", arXiv:1802.04977.
"""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.methods.maps import at_one_size, pairs_of_maps, unit_length
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting, Stage
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

DEEPEST = TapPairs(student=("stage-end:-1",), teacher=("stage-end:-1",))
SLOPE = 0.1
"""Of the leaky ReLUs."""


class FactorTransferConfig(Strict):
    """Labels, and factors of the teacher's maps: what a small autoencoder keeps of them.

    Attributes:
        taps: maps that are compared.
        weight: beta; RepDistiller's.
        rate: channels of a factor, as a share of the teacher's channels; the paper's best.
        factor: `attention` compares the mean square over the channels, as RepDistiller does, `whole` all of the factor,
            as the paper does; each image's of length 1.
        power: p of that mean of |factor|^p.
        paraphraser_epochs: in which the paraphraser alone learns to restore the teacher's maps; None = it learns beside
            the student.
        paraphraser_lr_factor: its learning rate in them, in shares of the run's; RepDistiller's 0.01 for 0.05.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["factor_transfer"] = "factor_transfer"
    taps: TapPairs = DEEPEST
    weight: Annotated[float, Field(ge=0)] = 200.0
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    factor: Literal["attention", "whole"] = "attention"
    power: Annotated[float, Field(ge=1)] = 2.0
    paraphraser_epochs: Annotated[int, Field(ge=1)] | None = 30
    paraphraser_lr_factor: Annotated[float, Field(gt=0)] = 0.2

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return FactorTransfer(self, setting)


class FactorTransfer(Method):
    """The paraphraser first, then cross-entropy with the labels plus the weighted loss.

    Neither paraphraser nor translator is part of the product.
    """

    def __init__(self, config: FactorTransferConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)
        channels = [(setting.student[ours][0], setting.teacher[theirs][0]) for ours, theirs in self.pairs]
        self.paraphrasers = nn.ModuleList(Paraphraser(theirs, _width(theirs, config.rate)) for _, theirs in channels)
        self.translators = nn.ModuleList(translator(ours, _width(theirs, config.rate)) for ours, theirs in channels)

    def stages(self) -> tuple[Stage, ...]:
        """Paraphraser and transfer, or one."""
        settings = self.config
        if settings.paraphraser_epochs is None:
            return super().stages()
        return (
            Stage(
                "paraphraser",
                settings.paraphraser_epochs,
                self.paraphrase,
                trains=lambda name: name.startswith("method.paraphrasers."),
                lr_factor=settings.paraphraser_lr_factor,
                judged=False,
            ),
            Stage("transfer", losses=self.transfer, trains=lambda name: not name.startswith("method.paraphrasers.")),
        )

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`restored`, `factor` (weighted) and `label`, all >= 0: both stages at once."""
        return {**self.paraphrase(students, teacher, samples), **self.transfer(students, teacher, samples)}

    def paraphrase(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`restored`, >= 0: mean squared difference of the teacher's maps and what the paraphraser makes of them."""
        assert teacher is not None
        maps = [at_least_float32(teacher.taps[theirs]) for _, theirs in self.pairs]
        losses = [
            F.mse_loss(paraphraser(values).to(values.dtype), values)
            for paraphraser, values in zip(self.paraphrasers, maps, strict=True)
        ]
        return {"restored": torch.stack(losses).sum()}

    def transfer(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`factor` (weighted) and `label`, both >= 0; the teacher's factors carry no gradient."""
        assert teacher is not None
        (student,) = students
        losses = []
        for (ours, theirs), paraphraser, translate in zip(self.pairs, self.paraphrasers, self.translators, strict=True):
            assert isinstance(paraphraser, Paraphraser)
            with torch.no_grad():
                wanted = paraphraser.factor(at_least_float32(teacher.taps[theirs]))
            factor = translate(at_least_float32(student.taps[ours]))
            whole = self.config.factor == "whole"
            losses.append(factor_loss(factor, wanted, power=None if whole else self.config.power))
        return {
            "factor": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


class Paraphraser(nn.Module):
    """Three 3x3 convolutions to a factor of fewer channels and three transposed ones back, without normalisation."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.factor = nn.Sequential(
            *_leaky(nn.Conv2d(channels, channels, 3, padding=1)),
            *_leaky(nn.Conv2d(channels, width, 3, padding=1)),
            *_leaky(nn.Conv2d(width, width, 3, padding=1)),
        )
        self.restore = nn.Sequential(
            *_leaky(nn.ConvTranspose2d(width, width, 3, padding=1)),
            *_leaky(nn.ConvTranspose2d(width, channels, 3, padding=1)),
            *_leaky(nn.ConvTranspose2d(channels, channels, 3, padding=1)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, H, W] -> as restored, of the same shape."""
        return self.restore(self.factor(maps))


def translator(channels: int, width: int) -> nn.Module:
    """Three 3x3 convolutions with batch normalisation from a student's map to a factor."""
    return nn.Sequential(
        *_leaky(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)),
        *_leaky(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)),
        *_leaky(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)),
    )


def factor_loss(student: Tensor, teacher: Tensor, *, power: float | None) -> Tensor:
    """Mean over images and elements of |a - b|, a and b the factors of an image, of length 1.

    The larger is averaged down to the smaller first.

    Args:
        student: factors [B, C, H, W].
        teacher: factors [B, C, H', W'], detached.
        power: compare the mean over the channels of |factor|^power; None: the whole factor.

    Returns:
        Scalar >= 0.
    """
    student, teacher = at_one_size(student, teacher)
    if power is not None:
        student, teacher = (values.abs().pow(power).mean(1) for values in (student, teacher))
    ours, theirs = (unit_length(values.flatten(1)) for values in (student, teacher))
    return (ours - theirs).abs().mean()


def _leaky(*layers: nn.Module) -> tuple[nn.Module, ...]:
    return *layers, nn.LeakyReLU(SLOPE)


def _width(channels: int, rate: float) -> int:
    return max(1, int(channels * rate))
