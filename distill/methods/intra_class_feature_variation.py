"""intra_class_feature_variation: how far each pixel's features lie from the middle of its class is taught (IFVD).

Wang et al. 2020, "Intra-class feature variation distillation for semantic segmentation", ECCV,
doi:10.1007/978-3-030-58571-6_21.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from distill.contract import LATER, Strict
from distill.methods.critic import AdversarialSettings, Adversary, Critic
from distill.methods.maps import POOLED, pairs_of_maps
from distill.methods.method import WHOLE, Family, Method, Needs, Outputs, Samples, Setting, Stage, Stepper
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs
from distill.vision.tasks import IGNORED

if TYPE_CHECKING:  # they know every method
    from distill.training.batches import Batch
    from distill.training.step import Step

LEAST_PIXELS = 1e-6
"""Added to the number of a class's pixels, which a class that is absent has none of (the authors')."""


class IntraClassFeatureVariationConfig(Strict):
    """Labels, pixel-wise soft targets, and the variation of features within each class.

    The authors' adversarial part is left out unless it is asked for, as DistPro leaves it out.

    Attributes:
        taps: one place or several of both networks; the map that the answer is read from.
        weight: of the variation.
        soft_weight: of pixel-wise distillation at temperature 1 (the authors' criterion PI).
        adversarial: a critic learns to tell the teacher's answers from the student's, which learns to please it
            (`method.adversarial={}`); None = no critic.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["intra_class_feature_variation"] = "intra_class_feature_variation"
    taps: TapPairs = POOLED
    weight: Annotated[float, Field(ge=0)] = 50.0
    soft_weight: Annotated[float, Field(ge=0)] = 1.0
    adversarial: Annotated[AdversarialSettings | None, LATER] = None

    @property
    def needs(self) -> Needs:
        """The teacher's taps; with a critic one process, since its steps are not averaged over several."""
        alone = self.adversarial is not None
        return Needs(teacher="taps", taps=(self.taps,), one_process=alone, tasks=("segmentation",))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        if self.adversarial is None:
            return IntraClassFeatureVariation(self, setting)
        return AdversarialVariation(self, setting, self.adversarial)


class IntraClassFeatureVariation(Method):
    """Cross-entropy with the labels plus both weighted losses; it has no parameters."""

    def __init__(self, config: IntraClassFeatureVariationConfig, setting: Setting) -> None:
        super().__init__(config)
        self.pairs = pairs_of_maps(config.kind, setting, config.taps)
        self.num_classes = setting.num_classes

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`variation` and `soft` (both weighted) and `label`, all >= 0."""
        assert teacher is not None
        (student,) = students
        variation = sum(
            (
                variation_loss(student.taps[ours], teacher.taps[theirs], samples.labels, num_classes=self.num_classes)
                for ours, theirs in self.pairs
            ),
            start=student.logits.new_zeros(()),
        )
        losses = {
            "variation": self.config.weight / len(self.pairs) * variation,
            "label": samples.label_loss(student.logits),
        }
        if self.config.soft_weight:
            soft = samples.soft_loss(student.logits, teacher.logits, temperature=1.0)
            losses["soft"] = self.config.soft_weight * soft
        return losses


class AdversarialVariation(IntraClassFeatureVariation):
    """The same, and a critic that the student's answers have to please.

    Attributes:
        critic: trained by the stepper, by no optimizer of the loop.
    """

    def __init__(
        self, config: IntraClassFeatureVariationConfig, setting: Setting, adversarial: AdversarialSettings
    ) -> None:
        super().__init__(config, setting)
        self.adversarial = adversarial
        self.critic = Critic(setting.num_classes, width=adversarial.width)
        self._answers: tuple[Tensor, Tensor] | None = None

    def stages(self) -> tuple[Stage, ...]:
        """One, in which the critic stands still: it has steps of its own."""
        return (replace(WHOLE, trains=_is_no_critics),)

    def stepper(self, plain: "Step", held_back: "Iterator[Batch] | None") -> Stepper:
        """The student's step, then the critic's."""
        return Adversary(self, plain)

    def take_answers(self) -> tuple[Tensor, Tensor]:
        """Of student and teacher in the step before, detached, once."""
        answers, self._answers = self._answers, None
        assert answers is not None, "a step comes before"
        return answers

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """As without a critic, and `adversarial` (weighted, of any sign): minus the mean score of the answers."""
        assert teacher is not None
        (student,) = students
        self._answers = (student.logits.detach(), teacher.logits.detach())
        with torch.autocast(student.logits.device.type, enabled=False):
            score = self.critic(student.logits).mean()
        return {**super().forward(students, teacher, samples), "adversarial": -self.adversarial.weight * score}


def _is_no_critics(name: str) -> bool:
    return not name.startswith("method.critic.")


def variation_loss(student: Tensor, teacher: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Mean squared difference of the two networks' similarities of every pixel to its class (Eq. 1-3).

    Args:
        student: maps [B, C, h, w].
        teacher: maps [B, C', h', w'], detached.
        labels: int64 [B, H, W], 255 where not known; brought to the student's height and width by nearest neighbours.
        num_classes: how many there are.

    Returns:
        Scalar >= 0, mean over all pixels of the student's maps; those that are not known are as far from themselves in
        both networks and add 0, as in the authors' code.

    Deviation: where the teacher's map has another size, its similarities are brought to the student's by bilinear
    interpolation; the authors' maps have one size.
    """
    ours = class_similarity(student, labels, num_classes=num_classes)
    theirs = class_similarity(teacher, labels, num_classes=num_classes)
    if theirs.shape != ours.shape:
        size = (ours.shape[1], ours.shape[2])
        theirs = F.interpolate(theirs[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return (ours - theirs).square().mean()


def class_similarity(maps: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """Cosine of each pixel's features [B, C, h, w] with the mean of its class in its own image: [B, h, w].

    All classes are summed at once, by a product with the pixels' one-hot labels. A pixel whose class is not known is
    compared with itself.
    """
    features = at_least_float32(maps)
    small = F.interpolate(labels[:, None].to(features.dtype), features.shape[2:], mode="nearest")[:, 0].to(labels.dtype)
    known = small != IGNORED
    classes = small.where(known, num_classes)
    # One row more than classes, for what is not known; F.one_hot would make a GPU wait to see that no label is larger.
    members = classes.flatten(1)[:, None] == _numbers(num_classes + 1, labels)[None, :, None]
    members = members.to(features.dtype)
    flat = features.flatten(2)
    sums = flat @ members.transpose(1, 2)
    centres = sums / (members.sum(2)[:, None] + LEAST_PIXELS)
    of_pixel = (centres @ members).unflatten(2, features.shape[2:])
    of_pixel = of_pixel.where(known[:, None], features)
    return F.cosine_similarity(features, of_pixel, dim=1)


def _numbers(count: int, like: Tensor) -> Tensor:
    return like.new_ones(count).cumsum(0) - 1
