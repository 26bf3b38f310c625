"""The seam between the training loop and a method: what a method may ask for, what it is given, what it gives back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.errors import UsageError
from distill.methods.task_losses import OF_CLASSES, TaskLosses
from distill.taps import PlacePairs, TapPairs
from distill.vision.tasks import TASKS, TaskName

if TYPE_CHECKING:  # both know the settings of a run, which know every method
    from distill.checkpoint import Training
    from distill.training.batches import Batch
    from distill.training.step import Step

HIGHEST_TEMPERATURE = 100.0
"""Above it T^2 times a divergence in float32 says little: rounding alone makes it T^2 * 1e-7."""

Temperature = Annotated[float, Field(ge=0.01, le=HIGHEST_TEMPERATURE)]
"""T by which logits are divided before the softmax."""

Balance = Annotated[float, Field(ge=0, le=1)]
"""Weight of the soft targets; the labels have the rest, 1 - alpha."""


Family = Literal["labels", "soft targets", "cohort", "features", "relations", "sum"]
"""What a method teaches with: nothing but labels; the teacher's logits; each other; its activations image by image; how
images relate to one another inside it; several of these."""


ALL_TASKS: tuple[TaskName, ...] = tuple(TASKS)


@dataclass(frozen=True)
class Needs:
    """What a method asks of the loop; read from its settings, before anything is built or loaded.

    Attributes:
        teacher: `none` (a run with a teacher is refused), its logits, or its taps as well; a teacher whose taps are
            read is asked in every step, since only logits are kept.
        larger_teacher_view: the teacher must see larger images than the student.
        students: how many networks are trained together.
        taps: the places that are read; the teacher's only if `teacher` is `taps`.
        held_back: share of the training images that no student is trained on, for the method's stepper; by patient
            where patients are known.
        one_process: the method cannot share a batch with other processes.
        idle_parameters: in some steps some of what the method trains has no part in the losses.
        teacher_statistics: with which mean and variance the teacher's batch normalisation normalises a batch: those it
            has kept, as everywhere else, or the batch's own. It keeps what it has in either case.
        tasks: for which it is made.
    """

    teacher: Literal["none", "logits", "taps"] = "logits"
    larger_teacher_view: bool = False
    students: int = 1
    taps: tuple[TapPairs, ...] = ()
    held_back: float = 0.0
    one_process: bool = False
    idle_parameters: bool = False
    teacher_statistics: Literal["kept", "batch"] = "kept"
    tasks: tuple[TaskName, ...] = ("classification",)


@dataclass(frozen=True)
class Setting:
    """What a method is built for: the networks as one dry run saw them, and the data.

    Attributes:
        labels: int64 [N] of all training images, in the order that `Samples.indices` counts.
        num_classes: width of the logits.
        student, teacher: place -> shape of one image's activation there, without the batch.
        places: what each of `Needs.taps` means in these networks.
        upstream: place of the student -> names of the parameters that it depends on, as `Stage.trains` sees them.
        teacher_norms: place of the teacher -> the batch normalisation that its channels have passed last, if any.
    """

    labels: Tensor
    num_classes: int
    student: Mapping[str, torch.Size] = field(default_factory=dict)
    teacher: Mapping[str, torch.Size] = field(default_factory=dict)
    places: Mapping[TapPairs, PlacePairs] = field(default_factory=dict)
    upstream: Mapping[str, frozenset[str]] = field(default_factory=dict)
    teacher_norms: Mapping[str, nn.BatchNorm2d] = field(default_factory=dict)

    def pairs(self, taps: TapPairs) -> tuple[tuple[str, str], ...]:
        """Places of student and teacher to compare one with one, as keys of `Outputs.taps`.

        Raises:
            UsageError: one side has more of them than the other.
        """
        ours, theirs = self.places[taps].student, self.places[taps].teacher
        if len(ours) != len(theirs):
            raise UsageError(
                f"method.taps names {len(ours)} place(s) of the student ({', '.join(ours)}) and {len(theirs)} of the "
                f"teacher ({', '.join(theirs)}); they are compared one with one, so name equally many."
            )
        return tuple(zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch.

    Attributes:
        logits: float32 [B, classes], or of every pixel [B, classes, H, W]; of depth metres [B, 1, H, W].
        taps: place -> activation [B, ...] in the precision the network computes in; what `Needs.taps` asked for.
        auxiliary: of a head that only training has, of the shape of `logits`; None without one.
    """

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class Samples:
    """Which images a batch holds.

    Attributes:
        labels: int64 [B]; of masks int64 [B, H, W], 255 where not known; of depth float32 [B, H, W], 0 where not known.
        indices: int64 [B], their positions in the training split.
        targets: float32 [B, classes], what label losses aim at where labels are smoothed, mixed or weighed by class;
            None where that is the labels. Of mixed images label and position are those of the larger part.
        losses: of the task.
    """

    labels: Tensor
    indices: Tensor
    targets: Tensor | None = None
    losses: TaskLosses = OF_CLASSES

    def label_loss(self, logits: Tensor) -> Tensor:
        """The task's loss of what a student answers and what is true: scalar >= 0; of classes the cross-entropy."""
        return self.losses.label(logits, self._aim)

    def label_losses(self, logits: Tensor) -> Tensor:
        """As `label_loss`, one value per image: [B]."""
        return self.losses.label(logits, self._aim, reduction="none")

    def soft_loss(self, student: Tensor, teacher: Tensor, *, temperature: float | Tensor) -> Tensor:
        """The task's loss of what student and teacher answer: scalar >= 0; of classes that of soft targets."""
        return self.losses.soft(student, teacher, temperature=temperature)

    @property
    def _aim(self) -> Tensor:
        return self.labels if self.targets is None else self.targets


Losses = Callable[[tuple[Outputs, ...], Outputs | None, Samples], dict[str, Tensor]]
"""Students, teacher, samples -> named losses, as `Method.forward`."""


def label_alone(students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
    """`label`, the label loss of one student: the error on images held back, which needs no teacher."""
    (student,) = students
    return {"label": samples.label_loss(student.logits)}


def everything(name: str) -> bool:
    """Of `Stage.trains`: all parameters."""
    return True


@dataclass(frozen=True)
class Stage:
    """A stretch of training with losses and trained parameters of its own, from a fresh optimizer.

    Attributes:
        name: unique in the method; the state of a killed run remembers it.
        epochs: how many; None = what the other stages leave of training.epochs. The schedule of the learning rate
            runs from its beginning to its end in every stage.
        losses: None = `Method.forward`.
        trains: whether a parameter learns, by its name: `students.0.…` or `method.…`.
        lr_factor: the learning rate is multiplied by it.
        judged: False: no epoch of the stage can be the best one, none stops the run early.
    """

    name: str
    epochs: int | None = None
    losses: Losses | None = None
    trains: Callable[[str], bool] = everything
    lr_factor: float = 1.0
    judged: bool = True


WHOLE = Stage("whole")
"""The one stage of a method that has no others."""


class Stepper(Protocol):
    """Trains on one batch at a time. What it has beside the parameters, such as an optimizer, is its state."""

    def __call__(self, batch: "Batch") -> dict[str, Tensor]:
        """Take one step; returns its named losses, detached, on the device."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of it: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put an earlier state back; parameters are on their device by then."""
        ...


class Method(nn.Module):
    """Base of every method: named losses from what student (or students) and teacher say.

    Whatever a method trains is its registered child, so it moves, saves and resumes with it. What it remembers of a
    batch, such as a bank of embeddings, it takes from the whole batch (`distill.training.reduction.gathered`).
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def stages(self) -> tuple[Stage, ...]:
        """In their order; the last one must be judged."""
        return (WHOLE,)

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """The method's own parameters for the optimizer.

        A group may set its own weight_decay, and lr_factor, by which its learning rate is multiplied. It is asked for
        its groups again at the start of every epoch, so lr_factor may change from epoch to epoch.
        """
        return [{"params": list(self.parameters())}]

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch (1-based, counted over all stages), also after a resume."""

    def start_step(self, progress: float) -> None:
        """Called before each step with the share of its stage that lies behind, in [0, 1)."""

    def scalars(self) -> dict[str, float]:
        """What is worth a line in `metrics.jsonl` after an epoch."""
        return {}

    def leave(self, folder: Path, training: "Training") -> None:
        """Called when the run is finished: write what came of it beside the network.

        The names of the files stand in `distill.run_folder.WRITTEN`.

        Args:
            folder: of the run.
            training: the card's record of it.
        """

    def stepper(self, plain: "Step", held_back: "Iterator[Batch] | None") -> Stepper:
        """What takes the steps of a stage, for methods that search: asked once at the start of each.

        Args:
            plain: the ordinary step, `plain(batch)` = `plain.descend(plain.losses(batch))`; both halves may be used.
            held_back: endless batches of the images held back; None if none are.
        """
        return plain

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """Named scalar losses, already weighted: the step minimises their sum.

        Args:
            students: one per trained network, with gradient.
            teacher: without gradient; None if and only if none is needed.
            samples: which images they are of.
        """
        raise NotImplementedError
