"""The stages of a run: which epochs belong to which, and how one is started."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from distill.config import RunConfig, TrainingSettings
from distill.errors import UsageError
from distill.methods import Outputs, Stage, Stepper
from distill.run_folder import State
from distill.training.batches import Batch, EndlessBatches
from distill.training.lightning import Fabric
from distill.training.step import Objective, Step, choose_trained, make_optimizer, rate_factors, set_learning_rate


@dataclass(frozen=True)
class Span:
    """The epochs of one stage.

    Attributes:
        first: epochs before it (0-based number of its first).
        end: epochs when it is over.
    """

    stage: Stage
    first: int
    end: int

    @property
    def epochs(self) -> int:
        """How many."""
        return self.end - self.first


def spans(stages: Sequence[Stage], epochs: int, *, kind: str) -> tuple[Span, ...]:
    """Divide the epochs of a run among the stages of its method.

    Args:
        stages: in their order.
        epochs: of the whole run.
        kind: the method's name, for errors.

    Raises:
        UsageError: the stages do not fill the run exactly, or its last epochs could not be judged.
    """
    fixed = sum(stage.epochs or 0 for stage in stages)
    open_ended = [stage.name for stage in stages if stage.epochs is None]
    named = ", ".join(f"{stage.name}: {stage.epochs or 'the rest'}" for stage in stages)
    if len(open_ended) > 1 or len({stage.name for stage in stages}) < len(stages) or not stages[-1].judged:
        raise ValueError(f"{kind}: stages need unique names, at most one without epochs, the last one judged ({named})")
    if fixed + len(open_ended) > epochs or (not open_ended and fixed != epochs):
        need = f"at least {fixed + 1}" if open_ended else str(fixed)
        raise UsageError(
            f"method {kind} trains in stages ({named}), which take {need} epochs; training.epochs is {epochs}. "
            f"Set training.epochs={fixed + len(open_ended)} or other lengths of the stages."
        )
    schedule: list[Span] = []
    first = 0
    for stage in stages:
        length = epochs - fixed if stage.epochs is None else stage.epochs
        schedule.append(Span(stage, first, first + length))
        first += length
    return tuple(schedule)


def span_of(epoch: int, phases: Sequence[Span]) -> Span:
    """The stage that an epoch (0-based) belongs to."""
    return next(span for span in phases if epoch < span.end)


@dataclass
class Underway:
    """A stage that is being trained.

    Attributes:
        wrapped: the objective as Fabric wrapped it for the parameters that learn in this stage.
        stepper: takes its steps.
        held_back: what it draws on beside the batches; None if no images are held back.
        rate_factors: of the optimizer's groups in this epoch.
        learning_rate: of the step begun last, before these factors.
    """

    span: Span
    objective: Objective
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    held_back: EndlessBatches | None
    rate_factors: Sequence[float] = ()
    learning_rate: float = 0.0

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch (0-based) of the run."""
        self.objective.method.start_epoch(epoch + 1)
        self.rate_factors = rate_factors(self.objective, self.span.stage)
        self.wrapped.train()
        self.objective.fine_tuning.hold_still()
        if self.held_back is not None:
            self.held_back.start_epoch(epoch)

    def start_step(self, moment: float, settings: TrainingSettings) -> None:
        """Set the learning rates for a fractional epoch (0-based) of the run; tell the method how far its stage is."""
        in_stage = moment - self.span.first
        self.learning_rate = settings.optimizer.lr * settings.schedule.factor(in_stage, self.span.epochs)
        set_learning_rate(self.optimizer, self.learning_rate, self.rate_factors)
        self.objective.method.start_step(in_stage / self.span.epochs)


def start(
    span: Span,
    objective: Objective,
    answers: Callable[[Batch], Outputs | None],
    held_back: EndlessBatches | None,
    config: RunConfig,
    state: State,
    fabric: Fabric,
) -> Underway:
    """Choose what learns, make its optimizer, move both to the device; go on where a killed run was in this stage.

    The optimizer gets its state after Fabric has moved the parameters, since it puts it where they are.

    Raises:
        UsageError: the state is of another stage.
    """
    choose_trained(objective, span.stage)
    wrapped, optimizer = fabric.setup(objective, make_optimizer(config.training, objective))
    step = Step(fabric, wrapped, optimizer, answers, config.image.size_px, config.training.clip_norm)
    stepper = objective.method.stepper(step, held_back)
    if state.epoch > span.first:
        if state.stage != span.stage.name:
            raise UsageError(
                f"the state after epoch {state.epoch} is of stage {state.stage!r}, but method {config.method.kind} is "
                f"in {span.stage.name!r} by then; another version of it was running. Add --restart to start over."
            )
        optimizer.load_state_dict(state.optimizer)
        stepper.load_state_dict(state.stepper)
    return Underway(span, objective, wrapped, optimizer, stepper, held_back)
