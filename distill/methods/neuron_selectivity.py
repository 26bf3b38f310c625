"""neuron_selectivity: each channel looks at the same places in the student as in the teacher (Huang and Wang 2017).

"Like what you like: knowledge distill via neuron selectivity transfer", arXiv:1707.01219.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.contract import Strict
from distill.methods.maps import at_one_size, pairs_of_maps, unit_length
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import full_precision
from distill.taps import TapPairs


class NeuronSelectivityConfig(Strict):
    """Labels, and the distribution over the channels of the patterns that they see in a picture.

    Attributes:
        taps: maps that are compared; they may differ in size and number of channels.
        weight: beta; RepDistiller's.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["neuron_selectivity"] = "neuron_selectivity"
    taps: TapPairs = TapPairs()
    weight: Annotated[float, Field(ge=0)] = 50.0

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return NeuronSelectivity(self, setting)


class NeuronSelectivity(Method):
    """Cross-entropy with the labels plus the weighted loss, summed over the maps compared."""

    def __init__(self, config: NeuronSelectivityConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`selectivity` (weighted) and `label`, both >= 0."""
        assert teacher is not None
        (student,) = students
        losses = [selectivity_loss(student.taps[ours], teacher.taps[theirs]) for ours, theirs in self.pairs]
        return {
            "selectivity": self.config.weight * torch.stack(losses).sum(),
            "label": samples.label_loss(student.logits),
        }


def selectivity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Maximum mean discrepancy of the channels, each of length 1 over the picture, with (u.v)^2; mean over images.

    The larger map is averaged down to the smaller. Deviation: the products of all channels are one matrix product per
    image, where RepDistiller multiplies every pair elementwise; the value is the same.

    Args:
        student: activations [B, C, H, W].
        teacher: activations [B, C', H', W'], detached.

    Returns:
        Scalar >= 0 up to rounding.
    """
    ours, theirs = (unit_length(maps.flatten(2), dim=2) for maps in at_one_size(student, teacher))
    return _kernel(theirs, theirs) + _kernel(ours, ours) - 2 * _kernel(ours, theirs)


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    with full_precision(left):
        return torch.bmm(left, right.transpose(1, 2)).square().mean()
