"""THE training loop: one for every method. Read `train` from top to bottom.

Everything random in an epoch is seeded by (seed, epoch), so a run that was killed and resumed at an epoch's start ends
with the weights of one that was not (bit for bit on the CPU). Several processes may share the work of a run
(`distill.processes`); every one of them goes through `train`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.markup import escape
from torch import Tensor, nn

from distill import calibration, evaluate, quantization_aware
from distill import teacher as teachers
from distill.batches import Batch, Batches, Share
from distill.checkpoint import Card, Metrics, Training
from distill.config import SGD, CheckpointTeacher, RunConfig, TrainingSettings, TrainTeacher
from distill.data import Data, load_data
from distill.errors import UsageError
from distill.loss_watch import LossWatch, Meter
from distill.methods import Method, Outputs
from distill.processes import Processes, start_processes
from distill.run_folder import RunFolder, State, to_cpu
from distill.step_clock import StepClock
from distill.teacher import Teacher, TeacherAnswers, resized
from distill.terminal import progress, say
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier, build, builder


def train(config: RunConfig, path: Path, *, resume: bool = False, restart: bool = False) -> Card:
    """Run a configuration to its end and return the product's card; the product lies in `path / "best"`.

    A finished run is not repeated. A teacher that is trained here gets its own run folder beside `path`.

    Raises:
        UsageError: anything wrong with the request, found before the first step.
        WorkFailed: the loss is not finite, or the disk is full; the state of the last finished epoch is kept.
    """
    processes = start_processes(config)
    fabric = processes.fabric
    config = quantization_aware.pinned(config)
    folder = RunFolder(path, config)
    if not restart and (card := processes.first(folder.finished)):
        say(escape(f"{path} is finished already; nothing to do (--restart trains it again)"))
        return card
    check(config, processes.share)
    state = processes.first(folder.open, resume=resume, restart=restart)
    with processes.first_goes_ahead():
        data = load_data(config)
    teacher = prepare_teacher(config, data, path, processes)
    with processes.first_goes_ahead():
        answers = TeacherAnswers(config, data, teacher, fabric)
        views = views_for_training(config, data, teacher)

    torch.manual_seed(config.seed)
    method = config.method.build()
    students = build_students(config, method.num_students, len(data.train.class_names), processes)
    trained = quantization_aware.prepare(students, config, data.train.class_names)
    cohort = nn.ModuleList(trained)
    optimizer = make_optimizer(config.training, cohort, method)
    restore(state, cohort, method, optimizer)
    objective, optimizer = fabric.setup(Objective(cohort, method), optimizer)
    step = Step(fabric, objective, optimizer, answers, config.image.size_px)

    settings = config.training
    batches = Batches(
        views,
        batch_size=settings.batch_size,
        device=fabric.device,
        augment=settings.augment,
        seed=config.seed,
        share=processes.share,
    )
    validation = Batches(data.validation, batch_size=256, device=fabric.device)

    with progress() as display:
        bar = display.add_task(config.name, total=settings.epochs * len(batches), note="")
        display.update(bar, completed=state.epoch * len(batches))
        while state.epoch < settings.epochs and not stale(state, settings):
            method.start_epoch(state.epoch + 1)
            quantization_aware.start_epoch(trained, state.epoch)
            started = time.perf_counter()
            clock = StepClock(fabric.device)
            losses = train_epoch(step, batches, config, state.epoch, Meter(display, bar), clock)
            batch_ms = clock.median_ms()
            seconds = time.perf_counter() - started
            rate = len(batches) * batches.batch_size / seconds
            found = processes.first(measure, students, validation, state.epoch + 1)
            leader = leading(found)
            row = {"losses": losses, **method.scalars(), "seconds": seconds, "images_per_s": rate}
            row["median_batch_ms"] = batch_ms
            row |= quantization_aware.rounded_accuracy(trained, validation)
            advance(state, found[leader], row)
            capture(state, cohort, method, optimizer)
            processes.first(keep, folder, config, data, teacher, state, students[leader])
            say(epoch_line(config, state))

    return processes.first(finish, folder, config, data, teacher, state, students, validation)


def measure(students: list[ImageClassifier], validation: Batches, epoch: int) -> list[Metrics]:
    """Every student's metrics on the whole validation split after an epoch (1-based)."""
    return [evaluate.evaluate(student, validation, epoch=epoch) for student in students]


def keep(
    folder: RunFolder, config: RunConfig, data: Data, teacher: Teacher | None, state: State, leader: ImageClassifier
) -> None:
    """Write what a finished epoch leaves: the state to resume from, and the product if it is the best so far."""
    if state.best is state.last:
        folder.save_checkpoint(folder.best, leader, data.train.class_names, record(config, data, teacher, state))
    folder.save_state(state)


def finish(
    folder: RunFolder,
    config: RunConfig,
    data: Data,
    teacher: Teacher | None,
    state: State,
    students: list[ImageClassifier],
    validation: Batches,
) -> Card:
    """Save the last epoch (every member of a cohort, the best of them as `last`) and complete the product's card."""
    training = record(config, data, teacher, state, finished=True)
    found = measure(students, validation, state.epoch)
    folder.save_checkpoint(folder.last, students[leading(found)], data.train.class_names, training)
    if len(students) > 1:
        for number, (student, metrics) in enumerate(zip(students, found, strict=True), start=1):
            of_member = training.model_copy(update={"last": metrics})
            folder.save_checkpoint(folder.member(number), student, data.train.class_names, of_member)
    return folder.finish(training)


def leading(cohort: list[Metrics]) -> int:
    """Position of the most accurate member; the first of equals."""
    return max(range(len(cohort)), key=lambda member: cohort[member].accuracy)


class Objective(nn.Module):
    """Students and method as one module, so that precision, devices and gradients are handled for all at once."""

    def __init__(self, students: nn.ModuleList, method: Method) -> None:
        super().__init__()
        self.students = students
        self.method = method

    def forward(self, images: Tensor, labels: Tensor, teacher: Tensor | None) -> dict[str, Tensor]:
        """Named losses of one batch; `teacher` are its logits [B, classes]."""
        outputs = tuple(Outputs(student(images).float()) for student in self.students)
        return self.method(outputs, None if teacher is None else Outputs(teacher), labels)


@dataclass(frozen=True)
class Step:
    """One update of the students and of whatever the method trains.

    Attributes:
        size_px: what the students see; batches may carry larger images for the teacher.
    """

    fabric: Fabric
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    answers: TeacherAnswers
    size_px: int

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take the step; returns the named losses before it, detached and still on the device."""
        images = resized(batch.images, self.size_px)
        losses: dict[str, Tensor] = self.objective(images, batch.labels, self.answers(batch))
        self.optimizer.zero_grad()
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}


def train_epoch(
    step: Step, batches: Batches, config: RunConfig, epoch: int, meter: Meter, clock: StepClock
) -> dict[str, float]:
    """One pass over the training images; returns the mean of each named loss.

    Raises:
        WorkFailed: a loss is not finite.
    """
    # Of dropout and whatever else draws from the global state; every process draws its own.
    torch.manual_seed((config.seed * 1_000_003 + epoch) * batches.share.count + batches.share.number)
    step.objective.train()
    watch = LossWatch(config, epoch, batches.device)
    for index, batch in enumerate(batches.epoch(epoch)):
        set_learning_rate(step.optimizer, config.training, epoch + index / len(batches))
        watch.add(index, step(batch))
        clock.tick()
        if watch.due(index, len(batches)):
            meter.show(watch.check(), (index + 1) * batches.batch_size, index + 1)
    return watch.means()


def check(config: RunConfig, share: Share) -> None:
    """Raises UsageError for what can be known to be wrong before anything is loaded."""
    builder(config.model)
    share.check(config.training.batch_size)
    if config.quantization_aware and share.count > 1:
        raise UsageError("a quantization-aware run keeps its ranges in one process; start it without torchrun.")
    if isinstance(config.teacher, TrainTeacher):
        builder(config.teacher.model)
        share.check(config.teacher.training.batch_size)
    method, kind = config.method.build(), config.method.kind
    needs_teacher = method.needs_teacher
    if needs_teacher and config.teacher is None:
        raise UsageError(
            f"method {kind} needs a teacher. Set one, e.g. --set teacher.kind=checkpoint --set teacher.path=RUN"
        )
    if not needs_teacher and config.teacher is not None:
        raise UsageError(f"method {kind} has no use for a teacher. Remove it: --set teacher=null")


def prepare_teacher(config: RunConfig, data: Data, path: Path, processes: Processes) -> Teacher | None:
    """Load the teacher, training it first if the run says so and it has not been done."""
    if config.teacher is None:
        return None
    source = config.teacher
    if isinstance(source, TrainTeacher):
        teacher_run = config.teacher_run()
        teacher_path = path.parent / teacher_run.name
        if processes.first(RunFolder(teacher_path, teacher_run).finished) is None:
            say(escape(f"training the teacher first: {teacher_run.model} in {teacher_path}"))
            train(teacher_run, teacher_path, resume=True)
        processes.first(link_teacher, path, teacher_path)
        if source.calibrate:
            teacher_path = processes.first(calibration.calibrate_run, teacher_path)
        source = CheckpointTeacher(path=str(teacher_path))
    teacher = teachers.load(source, channels=config.dataset.channels, class_names=data.train.class_names)
    check_views(config, teacher)
    return teacher


def check_views(config: RunConfig, teacher: Teacher) -> None:
    """Raises UsageError if the method wants the teacher to see more than the student and it does not."""
    if not config.method.build().needs_larger_teacher_view:
        return
    theirs = None if teacher.preprocess is None else teacher.preprocess.size_px
    if theirs is None or theirs <= config.image.size_px:
        raise UsageError(
            f"method {config.method.kind} is for a teacher that sees larger images than the student; the teacher sees "
            f"{theirs or 'unknown'} px, the student {config.image.size_px} px. Lower image.size_px or, for a teacher "
            "that is trained here, set teacher.image.size_px."
        )


def views_for_training(config: RunConfig, data: Data, teacher: Teacher | None) -> Split:
    """The training images at a size that serves student and teacher."""
    size_px = teachers.view_px(config, teacher)
    if size_px == config.image.size_px:
        return data.train
    return config.dataset.load("train", config.preprocess.model_copy(update={"size_px": size_px}))


def build_students(config: RunConfig, count: int, num_classes: int, processes: Processes) -> list[ImageClassifier]:
    """Freshly initialised students, each other than the next, channels last in memory."""
    students = [build(config.model, num_classes=num_classes, preprocess=config.preprocess) for _ in range(count)]
    processes.share_statistics(students)
    for student in students:
        student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return students


def link_teacher(path: Path, teacher_path: Path) -> None:
    """`teacher` in the run folder leads to the teacher's run folder."""
    path.mkdir(parents=True, exist_ok=True)
    link = path / "teacher"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..") / teacher_path.name)


def make_optimizer(settings: TrainingSettings, students: nn.Module, method: Method) -> torch.optim.Optimizer:
    """The optimizer over every parameter of students and method."""
    groups = [{"params": list(students.parameters())}, *method.parameter_groups()]
    groups = [group for group in groups if group["params"]]
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


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: TrainingSettings, epoch: float) -> None:
    """Set every group's rate for a fractional, 0-based epoch: a function of it alone, so nothing need be resumed."""
    rate = settings.optimizer.lr * settings.schedule.factor(epoch, settings.epochs)
    for group in optimizer.param_groups:
        group["lr"] = rate


def capture(state: State, students: nn.Module, method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy everything trainable into the state."""
    state.model, state.method = to_cpu(dict(students.state_dict())), to_cpu(dict(method.state_dict()))
    state.optimizer = to_cpu(optimizer.state_dict())


def restore(state: State, students: nn.Module, method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the state of an earlier session back, if there is one."""
    if state.epoch:
        students.load_state_dict(state.model)
        method.load_state_dict(state.method)
        optimizer.load_state_dict(state.optimizer)


def stale(state: State, settings: TrainingSettings) -> bool:
    """True if validation accuracy has not improved for as long as the settings allow."""
    return settings.early_stopping_patience is not None and state.stale_epochs >= settings.early_stopping_patience


def advance(state: State, metrics: Metrics, row: dict[str, object]) -> None:
    """Take one finished epoch into the state; `state.best is state.last` if it was the best so far."""
    state.epoch += 1
    found = {**metrics.model_dump(), **row}
    improved = all(judged(found) > judged(earlier) for earlier in state.history)
    state.last = metrics
    state.best = metrics if improved else state.best
    state.stale_epochs = 0 if improved else state.stale_epochs + 1
    state.history.append(found)


def judged(row: Mapping[str, Any]) -> float:
    """What decides which epoch is best: validation accuracy, of the rounded network if it is trained to be rounded."""
    return row.get("quantized_accuracy", row["accuracy"])


def record(config: RunConfig, data: Data, teacher: Teacher | None, state: State, *, finished: bool = False) -> Training:
    """The card's record of this run as of now."""
    assert state.best
    assert state.last
    return Training(
        method=config.method.kind,
        config=config.model_dump(mode="json"),
        teacher_sha256=None if teacher is None else teacher.sha256,
        data=data.identity(config),
        seed=config.seed,
        epoch=state.epoch,
        best=state.best,
        last=state.last,
        finished=finished,
    )


def epoch_line(config: RunConfig, state: State) -> str:
    """One line per epoch, for people and for log files."""
    row = state.history[-1]
    rounded = f"  as int8 {100 * row['quantized_accuracy']:.2f} %" if "quantized_accuracy" in row else ""
    losses = "  ".join(f"{name} {value:.3f}" for name, value in row["losses"].items())
    return (
        f"{config.name}  epoch {state.epoch:>3}/{config.training.epochs}  {losses}  "
        f"accuracy {100 * row['accuracy']:.2f} %{rounded}  F1 {row['macro_f1']:.3f}  {row['images_per_s']:.0f} images/s"
        f"{'  best so far' if state.best is state.last else ''}"
    )
