"""The critic of an adversarial method: it learns to tell a teacher's answers for every pixel from a student's.

Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028), as the authors of IFVD have it from
Liu et al. 2019, "Structured knowledge distillation for semantic segmentation", arXiv:1903.04197.
"""

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distill.contract import Strict
from distill.methods.precision import at_least_float32

if TYPE_CHECKING:  # they know every method
    from distill.methods.intra_class_feature_variation import AdversarialVariation
    from distill.training.batches import Batch
    from distill.training.step import Step

LEAST_PX, MOST_PX = 16, 64
"""Sides of what the critic looks at, which it halves four times: larger answers are averaged, smaller ones repeated.

The authors' answers have 65.
"""

SLOPE = 0.1
"""Of the critic's ReLUs below 0."""


class AdversarialSettings(Strict):
    """How student and critic play; the defaults are the authors'.

    Attributes:
        weight: of the student's part, the mean score of its answers, beside the other losses.
        critic_weight: of the critic's own loss.
        gradient_penalty: of the critic's gradient where its length is not 1.
        lr, betas: of the critic's Adam, constant over the run.
        width: channels of the critic's first layer; each further layer has twice as many.
    """

    weight: Annotated[float, Field(gt=0)] = 0.001
    critic_weight: Annotated[float, Field(gt=0)] = 0.1
    gradient_penalty: Annotated[float, Field(ge=0)] = 10.0
    lr: Annotated[float, Field(gt=0)] = 4e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64


class Critic(nn.Module):
    """Answers of every pixel [B, classes, H, W] -> one score per image [B], high for what looks like the teacher's.

    Four convolutions that halve, with spectral norms, and self-attention behind the last two.

    Deviations: it reads probabilities, each picture's own; the authors' code normalises logits over the batch, so that
    a picture's gradient, which the penalty is of, depends on the others. The score is the mean of those of all places,
    so that answers of any size have one; the authors' is read from one map of 4 x 4.
    """

    def __init__(self, num_classes: int, *, width: int) -> None:
        super().__init__()
        widths = [num_classes, width, 2 * width, 4 * width, 8 * width]
        self.halvings = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
            for inputs, outputs in itertools.pairwise(widths)
        )
        self.attention = nn.ModuleList(SelfAttention(channels) for channels in widths[-2:])
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """See the class."""
        maps = at_least_float32(logits).softmax(dim=1)
        height, width = (min(max(side, LEAST_PX), MOST_PX) for side in maps.shape[2:])
        maps = F.adaptive_avg_pool2d(maps, (height, width))
        first = len(self.halvings) - len(self.attention)
        for number, halve in enumerate(self.halvings):
            maps = F.leaky_relu(halve(maps), SLOPE)
            if number >= first:
                maps = self.attention[number - first](maps)
        return self.score(maps).mean((1, 2, 3))


class SelfAttention(nn.Module):
    """What every place of a map [B, C, H, W] takes from all others, added to it by a factor that begins at 0.

    Zhang et al. 2019, arXiv:1805.08318.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(dim=2)
        return maps + self.factor * (value @ weights.transpose(1, 2)).unflatten(2, maps.shape[2:])


def critics_loss(critic: nn.Module, student: Tensor, teacher: Tensor, *, gradient_penalty: float) -> Tensor:
    """What the critic descends: the student's mean score minus the teacher's, and the penalty of its gradient.

    The penalty is the mean over images of (length of the score's gradient - 1)^2, at a random place between the two.

    Args:
        critic: answers -> [B].
        student: answers [B, classes, H, W], detached.
        teacher: the same, brought to the student's height and width by bilinear interpolation.
        gradient_penalty: weight of the penalty.

    Returns:
        Scalar of any sign.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if teacher.shape != student.shape:
        teacher = F.interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=False)
    apart = critic(student).mean() - critic(teacher).mean()
    share = torch.rand(len(student), 1, 1, 1, device=student.device, dtype=student.dtype)
    between = (share * teacher + (1 - share) * student).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return apart + gradient_penalty * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class Adversary:
    """Takes the student's step as ever, then one of the critic on the answers that the student had before it."""

    def __init__(self, method: "AdversarialVariation", plain: "Step") -> None:
        self.method, self.plain = method, plain
        settings = method.adversarial
        self.optimizer = torch.optim.Adam(method.critic.parameters(), lr=settings.lr, betas=settings.betas)

    def __call__(self, batch: "Batch") -> dict[str, Tensor]:
        """Take both steps; the named losses, `critic` among them, are those before them."""
        losses = self.plain(batch)
        return {**losses, "critic": self._teach(*self.method.take_answers())}

    def _teach(self, student: Tensor, teacher: Tensor) -> Tensor:
        critic, settings = self.method.critic, self.method.adversarial
        # In the student's step the critic stands still; here it alone learns.
        critic.requires_grad_()
        try:
            loss = settings.critic_weight * critics_loss(
                critic, student, teacher, gradient_penalty=settings.gradient_penalty
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        finally:
            critic.requires_grad_(False)
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Of the critic's optimizer; the critic is the method's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.optimizer.load_state_dict(state["optimizer"])
