"""relational_kd: distances and angles between images are the teacher's (Park et al. 2019, arXiv:1904.05068)."""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.maps import POOLED
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs
from distill.training.reduction import gathered

LEAST_SQUARE = 1e-12


class RelationalKDConfig(Strict):
    """Labels, and the shape of the cloud of a batch's images: pairwise distances and angles in triples.

    Attributes:
        taps: features in which images are points.
        weight: beta; RepDistiller's.
        distance_weight, angle_weight: the paper's.
    """

    family: ClassVar[Family] = "relations"

    kind: Literal["relational_kd"] = "relational_kd"
    taps: TapPairs = POOLED
    weight: Annotated[float, Field(ge=0)] = 1.0
    distance_weight: Annotated[float, Field(ge=0)] = 25.0
    angle_weight: Annotated[float, Field(ge=0)] = 50.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it."""
        return RelationalKD(self, setting)


class RelationalKD(Method):
    """Cross-entropy with the labels plus both weighted losses, summed over the places compared.

    They relate all images of a batch to one another; processes that share a batch compute them of the whole.
    """

    def __init__(self, config: RelationalKDConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = setting.pairs(config.taps)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`distance` and `angle` (both weighted) and `label`, all >= 0."""
        assert teacher is not None
        (student,) = students
        losses = [relational_losses(student.taps[ours], teacher.taps[theirs]) for ours, theirs in self.pairs]
        distances, angles = (torch.stack(of_pairs).sum() for of_pairs in zip(*losses, strict=True))
        return {
            "distance": self.config.weight * self.config.distance_weight * distances,
            "angle": self.config.weight * self.config.angle_weight * angles,
            "label": samples.label_loss(student.logits),
        }


def relational_losses(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth L1 of pairwise distances, each side divided by its mean; and of the cosines of the angles in triples.

    Means over all B^2 pairs, an image with itself included, and all B^3 triples. Deviations: a distance is the length
    of a difference and no difference of lengths, which is exact where images are close; equal images, less than
    1e-6 apart, have no gradient.

    Args:
        student: activations [B, ...].
        teacher: activations [B, ...] of the same images in any shape, detached.

    Returns:
        Two scalars >= 0, of the whole batch where processes share it; the same for any order of the images.
    """
    ours, theirs = (differences(gathered(at_least_float32(values).flatten(1))) for values in (student, teacher))
    return (
        F.smooth_l1_loss(_relative_distances(ours), _relative_distances(theirs)),
        F.smooth_l1_loss(_cosines(ours), _cosines(theirs)),
    )


def differences(points: Tensor) -> Tensor:
    """Points [B, n] -> [B, B, n]: the way from the first to the second."""
    return points[None] - points[:, None]


def _lengths(ways: Tensor) -> Tensor:
    return ways.square().sum(2).clamp_min(LEAST_SQUARE).sqrt()


def _relative_distances(ways: Tensor) -> Tensor:
    count = len(ways)
    distances = _lengths(ways) * (1 - torch.eye(count, dtype=ways.dtype, device=ways.device))
    mean = distances.sum() / max(count * (count - 1), 1)
    return distances / mean.clamp_min(torch.finfo(ways.dtype).tiny)


def _cosines(ways: Tensor) -> Tensor:
    """[B, B, B]: at the first image, between the ways to the second and to the third."""
    squares = ways.square().sum(2, keepdim=True)
    inverse = squares.clamp_min(LEAST_SQUARE).rsqrt()
    unit = ways * torch.where(squares > LEAST_SQUARE, inverse, torch.zeros_like(inverse))
    with full_precision(unit):
        return unit @ unit.transpose(1, 2)
