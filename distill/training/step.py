"""One step of training: the losses of a batch, and the descent on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill.config import SGD, TrainingSettings
from distill.methods import Losses, Method, Outputs, Samples, Stage
from distill.methods.precision import at_least_float32
from distill.methods.task_losses import OF_CLASSES, TaskLosses
from distill.taps import Taps
from distill.teachers.teacher import resized
from distill.training.batches import Batch
from distill.training.fine_tuning import ALL_ALIKE
from distill.training.lightning import Fabric
from distill.vision.models.dense.network import DenseNetwork

AUXILIARY_WEIGHT = 0.4
"""Of an auxiliary head's label loss beside the others' (Zhao et al. 2017, arXiv:1612.01105, section 3.3)."""


class Objective(nn.Module):
    """Students and method as one module, so that precision, devices and gradients are handled for all at once.

    Attributes:
        taps: of each student; empty where nothing is tapped.
        losses: what is minimised instead of the method itself; of the present stage.
        fine_tuning: which of the students' parameters learn, and how fast.
        task_losses: what the task learns from.
    """

    def __init__(
        self,
        students: nn.ModuleList,
        method: Method,
        taps: Sequence[Taps] = (),
        task_losses: TaskLosses = OF_CLASSES,
    ) -> None:
        super().__init__()
        self.fine_tuning = ALL_ALIKE
        self.task_losses = task_losses
        self.students = students
        self.method = method
        self.taps = tuple(taps)
        self.losses: Losses | None = None

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        teacher_logits: Tensor | None,
        teacher_taps: Mapping[str, Tensor],
        targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Named losses of a batch: images float32 [B, C, H, W], what is in `Samples`, the teacher's outputs.

        Where a student has an auxiliary head, its label loss is one more of them (`auxiliary`).

        The arguments are tensors, which Fabric knows to convert, and not the records made of them here.
        """
        students = tuple(self._outputs(number, images) for number in range(len(self.students)))
        teacher = None if teacher_logits is None else Outputs(teacher_logits, teacher_taps)
        samples = Samples(labels, indices, targets, self.task_losses)
        losses = (self.losses or self.method)(students, teacher, samples)
        heads = [head for student in students if (head := student.auxiliary) is not None]
        if heads:
            of_heads = torch.stack([samples.label_loss(head) for head in heads])
            return {**losses, "auxiliary": AUXILIARY_WEIGHT * of_heads.sum()}
        return losses

    def _outputs(self, number: int, images: Tensor) -> Outputs:
        logits = at_least_float32(self.students[number](images))
        network = getattr(self.students[number], "network", None)
        auxiliary = network.take_auxiliary() if isinstance(network, DenseNetwork) else None
        return Outputs(logits, self.taps[number].take() if self.taps else {}, auxiliary)


@dataclass(frozen=True)
class Step:
    """One update of the students and of whatever the method trains.

    Attributes:
        answers: what the teacher says of a batch.
        size_px: what the students see; batches may carry larger images for the teacher.
        clip_norm: a longer gradient is shortened to this; None = never.
    """

    fabric: Fabric
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    answers: Callable[[Batch], Outputs | None]
    size_px: int
    clip_norm: float | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take the step; returns the named losses before it, detached and still on the device."""
        return self.descend(self.losses(batch))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The named losses of a batch, with gradient."""
        return self.objective(*self.arguments(batch))

    def arguments(self, batch: Batch, *, ask: bool = True) -> tuple[Any, ...]:
        """What the objective is called with for a batch; the teacher is asked unless `ask` is False."""
        teacher = self.answers(batch) if ask else None
        logits, taps = (None, {}) if teacher is None else (teacher.logits, dict(teacher.taps))
        images = resized(batch.images, self.size_px)
        return images, batch.labels, batch.indices, logits, taps, batch.targets

    @property
    def module(self) -> Objective:
        """The objective itself, not as Fabric has wrapped it."""
        module = getattr(self.objective, "module", self.objective)
        assert isinstance(module, Objective)
        return module

    def call(
        self, losses: Losses, arguments: tuple[Any, ...], tensors: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Other losses than the stage's; if given, with other weights and statistics than the objective's.

        With other weights (`torch.func.functional_call`) nothing of the objective changes, and it computes in full
        precision: half of it would round away what finite differences tell. Does not go through the other processes.

        Args:
            losses: in place of the method's.
            arguments: of `arguments`.
            tensors: by the objective's names; what is not named is its own.
        """
        objective = self.module
        usual, objective.losses = objective.losses, losses
        try:
            if tensors is not None:
                return functional_call(objective, dict(tensors), arguments)
            with self.fabric.autocast():
                return objective(*arguments)
        finally:
            objective.losses = usual

    def descend(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of the optimizer down the sum of these losses; returns them detached."""
        self.optimizer.zero_grad()
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        if self.clip_norm is not None:
            # To ask whether the norm is finite would make a GPU wait; the loop watches the losses.
            self.fabric.clip_gradients(
                self.objective, self.optimizer, max_norm=self.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the state of students, method and optimizer is kept by the loop."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to put back."""


def choose_trained(objective: Objective, stage: Stage) -> None:
    """Let those parameters learn that the stage trains, and no others; losses are the stage's."""
    for name, parameter in objective.named_parameters():
        parameter.requires_grad_(stage.trains(name) and objective.fine_tuning.learns(parameter))
    objective.losses = stage.losses


def parameter_groups(objective: Objective) -> list[dict[str, Any]]:
    """What learns now: the students' parameters, and the method's as it groups them."""
    of_students = objective.fine_tuning.groups(list(objective.students.parameters()))
    groups = [*of_students, *objective.method.parameter_groups()]
    learning = [
        {**group, "params": [parameter for parameter in group["params"] if parameter.requires_grad]} for group in groups
    ]
    return [group for group in learning if group["params"]]


def make_optimizer(settings: TrainingSettings, objective: Objective) -> torch.optim.Optimizer:
    """The optimizer over everything that learns now."""
    groups = [
        {key: value for key, value in group.items() if key != "lr_factor"} for group in parameter_groups(objective)
    ]
    chosen = settings.optimizer
    if isinstance(chosen, SGD):
        return torch.optim.SGD(
            groups,
            lr=chosen.lr,
            momentum=chosen.momentum,
            weight_decay=chosen.weight_decay,
            nesterov=chosen.nesterov,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=chosen.lr, weight_decay=chosen.weight_decay, fused=True)


def rate_factors(objective: Objective, stage: Stage) -> list[float]:
    """By what the learning rate of each of the optimizer's groups is multiplied in this epoch."""
    return [stage.lr_factor * group.get("lr_factor", 1.0) for group in parameter_groups(objective)]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, factors: Sequence[float]) -> None:
    """Set every group's rate; a function of the moment alone, so nothing need be resumed."""
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] = rate * factor
