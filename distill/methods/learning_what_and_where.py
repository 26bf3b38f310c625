"""learning_what_and_where: which maps and which channels of the teacher a student needs is learnt beside it.

Jang et al. 2019, "Learning what and where to transfer", arXiv:1905.05901 (L2T-ww).
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill.contract import Strict
from distill.methods.maps import as_map, map_shape
from distill.methods.method import (
    Family,
    Losses,
    Method,
    Needs,
    Outputs,
    Samples,
    Setting,
    Stage,
    Stepper,
    label_alone,
)
from distill.methods.precision import at_least_float32
from distill.taps import TapPairs

if TYPE_CHECKING:  # they know every method
    from distill.training.batches import Batch
    from distill.training.step import Step


class LearningWhatAndWhereConfig(Strict):
    """Labels, and every map of the student that imitates every one of the teacher, weighed by networks that learn.

    Attributes:
        taps: maps on both sides, or tokens; all pairs are compared, so they need not be equally many.
        weight: beta; the authors'.
        inner_steps: in which the student only imitates, before it is judged; the authors'.
        held_back: share of the training images by which it is judged; by patient where patients are known. 0 = by the
            batch that it has just learnt from, as the authors do.
        lr, weight_decay: of Adam on the networks that weigh; the authors'.
    """

    family: ClassVar[Family] = "features"

    kind: Literal["learning_what_and_where"] = "learning_what_and_where"
    taps: TapPairs = TapPairs()
    weight: Annotated[float, Field(ge=0)] = 0.5
    inner_steps: Annotated[int, Field(ge=1)] = 2
    held_back: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    lr: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4

    @property
    def needs(self) -> Needs:
        """The teacher's taps, images held back, and one process: what lies ahead is not averaged over several."""
        return Needs(teacher="taps", taps=(self.taps,), held_back=self.held_back, one_process=True)

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no maps."""
        return LearningWhatAndWhere(self, setting)


class LearningWhatAndWhere(Method):
    """Label loss and the weighted differences of all pairs of maps.

    Attributes:
        pairs: (place of the student, place of the teacher).
        adapters: of the student's maps, trained with it.
        weighers: of the teacher's maps; trained by the stepper, by no optimizer of the loop.
    """

    def __init__(self, config: LearningWhatAndWhereConfig, setting: Setting) -> None:
        super().__init__(config)
        places = setting.places[config.taps]
        self.pairs = list(product(places.student, places.teacher))
        student = {place: map_shape(config.kind, setting.student[place]) for place in places.student}
        teacher = {place: map_shape(config.kind, setting.teacher[place]) for place in places.teacher}
        self.adapters = nn.ModuleList(nn.Conv2d(student[ours][0], teacher[theirs][0], 1) for ours, theirs in self.pairs)
        self.weighers = nn.ModuleList(Weigher(teacher[theirs][0]) for _, theirs in self.pairs)
        self.weighers.requires_grad_(False)

    def stages(self) -> tuple[Stage, ...]:
        """One, in which the weighers learn nothing from the losses."""
        return (Stage("whole", trains=lambda name: not name.startswith("method.weighers.")),)

    def stepper(self, plain: "Step", held_back: "Iterator[Batch] | None") -> Stepper:
        """The plain step, and one of the weighers."""
        return WeighingStep(self, plain, held_back)

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`match` (weighted) and `label`, both >= 0."""
        (student,) = students
        return {**self.match(students, teacher, samples), "label": samples.label_loss(student.logits)}

    def match(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`match` alone."""
        assert teacher is not None
        (student,) = students
        losses = []
        for (ours, theirs), adapt, weigh in zip(self.pairs, self.adapters, self.weighers, strict=True):
            wanted = at_least_float32(as_map(teacher.taps[theirs]))
            of_channels, of_pair = weigh(wanted.mean((2, 3)))
            losses.append(matching_loss(adapt(as_map(student.taps[ours])), wanted, of_channels, of_pair))
        return {"match": self.config.weight * torch.stack(losses).sum()}


class Weigher(nn.Module):
    """What (weights of channels, sum 1) and where (a weight of the pair, in [0, 6]) for each image, from the teacher's.

    It begins with equal channels and the weight 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.what, self.where = nn.Linear(channels, channels), nn.Linear(channels, 1)
        for layer in (self.what, self.where):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.what.bias)
        nn.init.ones_(self.where.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled maps [B, C] -> weights of channels [B, C], of the pair [B]."""
        what, where = self.what(pooled), self.where(pooled)
        return at_least_float32(what).softmax(1), F.relu6(at_least_float32(where)).squeeze(1)


def matching_loss(student: Tensor, teacher: Tensor, of_channels: Tensor, of_pair: Tensor) -> Tensor:
    """Squared differences, mean over places, weighed sum over channels, weighed mean over images.

    Args:
        student: adapted, [B, C, H, W].
        teacher: [B, C, h, w], detached; resized bilinearly to H and W.
        of_channels: [B, C].
        of_pair: [B].

    Returns:
        Scalar >= 0.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if teacher.shape[2:] != student.shape[2:]:
        teacher = F.interpolate(teacher, student.shape[2:], mode="bilinear")
    differences = (student - teacher).square().mean((2, 3))
    return (of_pair * (of_channels * differences).sum(1)).mean()


class WeighingStep:
    """The plain step; then the weighers learn from how well a student would do that had imitated a little more.

    From where it is, the student imitates for some steps on the batch, learns one step from its labels, and is judged
    on other images. The weighers descend on that error, exactly, through all these steps; the student never takes them,
    since they are calls with other weights. Deviation: the steps ahead are plain descent at the present rate, without
    momentum and weight decay.
    """

    def __init__(self, method: LearningWhatAndWhere, plain: "Step", held_back: "Iterator[Batch] | None") -> None:
        self.method, self.plain, self.held_back = method, plain, held_back
        config = method.config
        self.optimizer = torch.optim.Adam(method.weighers.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def __call__(self, batch: "Batch") -> dict[str, Tensor]:
        """Take both; the named losses are those of the plain step."""
        arguments = self.plain.arguments(batch)
        losses = self.plain.descend(self.plain.objective(*arguments))
        other = arguments if self.held_back is None else self.plain.arguments(next(self.held_back), ask=False)
        for parameter, gradient in zip(
            self.method.weighers.parameters(), self._gradients(arguments, other), strict=True
        ):
            parameter.grad = gradient
        self.optimizer.step()
        return losses

    def _gradients(self, arguments: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """Of the error on the other images, in the weighers' parameters."""
        objective, rate = self.plain.module, self.plain.optimizer.param_groups[0]["lr"]
        fixed: dict[str, Tensor] = {name: buffer.clone() for name, buffer in objective.named_buffers()}
        weighing = {
            name: parameter.detach().clone().requires_grad_()
            for name, parameter in self.method.weighers.named_parameters(prefix="method.weighers")
        }
        weights = {
            name: parameter.detach().requires_grad_()
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad
        }

        def loss_of(losses: Losses, of: tuple[Any, ...]) -> Callable[[Mapping[str, Tensor]], Tensor]:
            return lambda at: torch.stack(list(self.plain.call(losses, of, {**fixed, **weighing, **at}).values())).sum()

        # Of the kernels of attention this one alone can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            for _ in range(self.method.config.inner_steps):
                weights = _descended(weights, loss_of(self.method.match, arguments), rate)
            weights = _descended(weights, loss_of(label_alone, arguments), rate)
            error = loss_of(label_alone, other)(weights)
            return torch.autograd.grad(error, list(weighing.values()), materialize_grads=True)

    def state_dict(self) -> dict[str, Any]:
        """Of the weighers' optimizer."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.optimizer.load_state_dict(state["optimizer"])


def _descended(
    weights: dict[str, Tensor], loss: Callable[[Mapping[str, Tensor]], Tensor], rate: float
) -> dict[str, Tensor]:
    """One step of plain descent that can be differentiated."""
    gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=True, materialize_grads=True)
    return {name: value - rate * gradient for (name, value), gradient in zip(weights.items(), gradients, strict=True)}
