"""THE training loop: one for every method. Read `train` from top to bottom.

Everything random in an epoch is seeded by (seed, epoch), so a run that was killed and resumed at an epoch's start ends
with the weights of one that was not (bit for bit on the CPU). Several processes may share the work of a run
(`distill.training.processes`); every one of them goes through `train`.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from rich.markup import escape
from torch import Tensor, nn

from distill import checkpoint
from distill.checkpoint import AnyMetrics, Card, Training
from distill.config import (
    CheckpointTeacher,
    ImageSettings,
    LogitsTeacher,
    ProgramTeacher,
    RunConfig,
    TrainingSettings,
    TrainTeacher,
)
from distill.contract import sha256_of_json
from distill.data import Data, load_data
from distill.errors import Diverged, UsageError, WorkFailed
from distill.evaluation import calibration, evaluate
from distill.hints import guests
from distill.hints.record import Hints
from distill.hints.search import enough_blocks, remarks, search
from distill.hints.use import at_hints, check_search, check_teacher
from distill.methods import METHODS, AnyMethod, Method
from distill.methods.task_losses import losses_of
from distill.methods.weighted_sum import WeightedSumConfig
from distill.process.record import PROCESS_FILE
from distill.process.use import with_process
from distill.run_folder import RunData, RunFolder, State, to_cpu
from distill.teachers import teacher as teachers
from distill.teachers import trial as teacher_trial
from distill.teachers.teacher import Teacher, TeacherAnswers
from distill.terminal import progress, say
from distill.training import quantization_aware
from distill.training.batches import Batches, EndlessBatches, Share
from distill.training.depthwise import use_fast_depthwise
from distill.training.dry_run import dry_run
from distill.training.fine_tuning import fine_tuning
from distill.training.loss_watch import LossWatch, Meter
from distill.training.processes import Processes, start_processes
from distill.training.stages import Underway, span_of, spans, start
from distill.training.step import Objective
from distill.training.step_clock import StepClock
from distill.training.stochastic_depth import set_stochastic_depth
from distill.training.tensorboard_log import TensorBoardLog, require_tensorboard
from distill.training.weight_averaging import AveragedWeights
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier, build, published_input, try_on_two_images
from distill.vision.preprocess import Preprocess
from distill.vision.pretrained import begin_with, origin
from distill.vision.tasks import TASKS, Measure, Task

FEWEST_IMAGES = 2
"""On either side of a division: batch normalisation has nothing to say of one."""


def train(
    config: RunConfig,
    path: Path,
    *,
    resume: bool = False,
    restart: bool = False,
    log: Literal["tensorboard"] | None = None,
    watch: Callable[[State], None] | None = None,
    stop_after: int | None = None,
) -> Card:
    """Run a configuration to its end and return the product's card; the product lies in `path / "best"`.

    A run that is finished on the data of now is not repeated. A teacher that is trained here gets its own run folder
    beside `path`. With `restart` what `path` holds stays until the new run has finished an epoch. A `log` of every
    epoch, the teacher's too, is written into the run folder. `watch` is shown the state of every epoch that is kept;
    what it raises ends the run there. With `stop_after` an unfinished run stands still when it has so many epochs, and
    the card is that of its best one; `resume` goes on, to the same bits as without the stop.

    Raises:
        UsageError: anything wrong with the request, found before the first step.
        Diverged: the loss is not finite; the state of the last finished epoch is kept.
        WorkFailed: the disk is full; it is kept as well.
    """
    if log == "tensorboard":
        require_tensorboard()
    processes = start_processes(config)
    fabric = processes.fabric
    check(config, processes.share)
    config = with_origins(quantization_aware.pinned(config))
    folder = RunFolder(path, config)
    with processes.first_goes_ahead():
        data = load_data(config)
    state = processes.first(folder.open, RunData.of(data), resume=resume, restart=restart)
    if not restart and (card := processes.first(folder.finished)):
        folder.require_same_data(RunData.of_card(card), RunData.of(data))
        say(escape(f"{path} is finished already; nothing to do (--restart trains it again)"))
        return card
    for needed in (config, config.search_run()):
        if needed is not None:
            divide(data.train, needed)
    teacher, teacher_path = prepare_teacher(config, data, path, processes, log)
    found = processes.first(find_hints, config, data, teacher, fabric.device, folder if state.epoch else None)
    config = with_found(config, found)
    following = prepare_process(config, data, path, processes, log)
    with processes.first_goes_ahead():
        answers = TeacherAnswers(config, data, teacher, fabric)
        views = teachers.training_views(config, data, teacher)
    processes.first(teacher_trial.judge, config, teacher, answers, views)

    torch.manual_seed(config.seed)
    students = build_students(config, config.method.needs.students, len(data.train.class_names))
    trained = quantization_aware.prepare(students, config, data.train.class_names)
    averaged = averages(config, students, fabric.device)
    judged = students if averaged is None else averaged.networks
    built = dry_run(following, data, students, answers.model, teacher_px=answers.size_px, trained=trained)
    answers.taps = built.teacher
    task_losses = losses_of(config.task.name, config.training.depth_error)
    objective = Objective(nn.ModuleList(trained), built.method, built.students, task_losses)
    processes.share_statistics([*students, built.method])
    objective.fine_tuning = fine_tuning(config.training, [student.network for student in students])
    phases = spans(built.method.stages(), config.training.epochs, kind=config.method.kind)
    teacher_sha256 = None if teacher is None else teacher.sha256
    processes.first(folder.begin, teacher_path, teacher_sha256, found, resumed=state.epoch > 0)
    restore(state, objective, averaged)

    settings = config.training
    batches = Batches(
        views,
        batch_size=settings.batch_size,
        device=fabric.device,
        augment=settings.augment,
        label_smoothing=settings.label_smoothing,
        balanced_weights=settings.class_weights == "balanced",
        balanced_sampling=settings.sampling == "balanced",
        seed=config.seed,
        share=processes.share,
    )
    batches, held_back = hold_back(batches, config)
    validation = Batches(data.validation, batch_size=32 if config.task.is_dense else 256, device=fabric.device)

    last_epoch = settings.epochs if stop_after is None else min(stop_after, settings.epochs)
    with progress() as display:
        bar = display.add_task(config.name, total=last_epoch * len(batches), note="")
        display.update(bar, completed=state.epoch * len(batches))
        stage: Underway | None = None
        board: TensorBoardLog | None = None
        while state.epoch < last_epoch and not stale(state, settings):
            if stage is None or state.epoch == stage.span.end:
                span = span_of(state.epoch, phases)
                stage = start(span, objective, answers, held_back, config, state, fabric)
            quantization_aware.start_epoch(trained, state.epoch)
            started = time.perf_counter()
            clock = StepClock(fabric.device)
            with built.tapped():
                losses = train_epoch(stage, averaged, batches, config, state.epoch, Meter(display, bar), clock)
            batch_ms = clock.median_ms()
            seconds = time.perf_counter() - started
            rate = len(batches) * batches.batch_size / seconds
            measured = processes.first(measure, judged, validation, state.epoch + 1)
            leader = leading(measured, config.measure)
            row = {"losses": losses, **built.method.scalars(), "seconds": seconds, "images_per_s": rate}
            row |= {"median_batch_ms": batch_ms, "learning_rate": stage.learning_rate}
            row |= quantization_aware.rounded_accuracy(trained, validation)
            row |= {"stage": stage.span.stage.name, "judged": stage.span.stage.judged} if len(phases) > 1 else {}
            advance(state, measured[leader], row, config.measure)
            capture(state, stage, averaged)
            processes.first(keep, folder, following, data, teacher, state, judged[leader])
            if log == "tensorboard" and processes.share.number == 0:
                board = show_epoch(board, path, batches, state)
            say(escape(epoch_line(config, state)))
            if watch is not None:
                watch(state)

    if board is not None:
        board.close()
    if state.epoch < settings.epochs and not stale(state, settings):
        return processes.first(best_so_far, folder, state)
    return processes.first(finish, folder, following, data, teacher, state, built.method, judged, validation)


def with_origins(config: RunConfig) -> RunConfig:
    """The configuration with name, hash and licence of the weights that student and teacher begin with.

    Raises:
        UsageError: there are no such weights, or a quantization-aware run is to be tuned in parts.
    """
    plain = TrainingSettings(epochs=1, batch_size=1)
    tuned = ("weights", "frozen", "freeze_batch_norm", "backbone_lr_factor", "layer_lr_decay", "stochastic_depth")
    changed = [name for name in tuned if getattr(config.training, name) != getattr(plain, name)]
    if config.quantization_aware is not None and changed:
        raise UsageError(
            "a quantization-aware run begins with quantization_aware.from_run and trains all of it at one rate; leave "
            f"training.{changed[0]} out."
        )
    training = _with_origin(config.training, config.model, config.image)
    config = config.model_copy(update={"training": training})
    if isinstance(config.teacher, TrainTeacher):
        teacher = config.teacher
        training = _with_origin(teacher.training, teacher.model, teacher.image or config.image)
        config = config.model_copy(update={"teacher": teacher.model_copy(update={"training": training})})
    return config


def _with_origin(training: TrainingSettings, model: str, image: ImageSettings) -> TrainingSettings:
    if training.weights is None:
        return training
    source = origin(training.weights, model)
    say(escape(f"{model} begins with {source.name} (SHA-256 {source.sha256[:12]}…)"))
    published = published_input(model)
    if {*image.mean, *image.std} != {*published.mean, *published.std}:
        settings = " ".join(f"--set image.{name}={list(getattr(published, name))}" for name in ("mean", "std"))
        say(escape(f"such weights usually saw other pixels than image.mean and image.std make: {settings}"))
    return training.model_copy(update={"origin": source})


def measure(students: list[ImageClassifier], validation: Batches, epoch: int) -> list[AnyMetrics]:
    """Every student's metrics on the whole validation split after an epoch (1-based).

    Raises:
        Diverged: a student's answers are not finite; what earlier epochs left is kept.
    """
    try:
        return [evaluate.evaluate(student, validation, epoch=epoch) for student in students]
    except Diverged as error:
        kept = f"The state after epoch {epoch - 1} is kept" if epoch > 1 else "No epoch was finished"
        raise Diverged(
            f"{error} {kept}. The weights or the statistics of batch normalisation grew beyond all bounds; a lower "
            "training.optimizer.lr usually helps, with --restart."
        ) from error


def keep(
    folder: RunFolder, config: RunConfig, data: Data, teacher: Teacher | None, state: State, leader: ImageClassifier
) -> None:
    """Write what a finished epoch leaves: the state to resume from, and the product if it is the best so far."""
    if state.best is state.last:
        folder.save_checkpoint(folder.best, leader, data.train.class_names, record(config, data, teacher, state))
    folder.save_state(state)


def show_epoch(board: TensorBoardLog | None, path: Path, batches: Batches, state: State) -> TensorBoardLog:
    """Log a finished epoch, the first of a session with a batch as the network sees it; the log to go on with."""
    if board is None:
        board = TensorBoardLog(path, state.history[:-1])
        board.show_batch(batches, state.epoch)
    board.show_epoch(state.history[-1])
    return board


def best_so_far(folder: RunFolder, state: State) -> Card:
    """The card of an unfinished run that was asked to stand still.

    Raises:
        WorkFailed: no epoch was judged yet: the method's first stage prepares, and its answers mean nothing.
    """
    if state.best is None:
        raise WorkFailed(
            f"{folder.path} has {state.epoch} epochs, none of them judged, so there is no checkpoint yet. It is kept; "
            "go on with --resume and a larger --stop-after."
        )
    return checkpoint.read_card(folder.best)


def finish(
    folder: RunFolder,
    config: RunConfig,
    data: Data,
    teacher: Teacher | None,
    state: State,
    method: Method,
    students: list[ImageClassifier],
    validation: Batches,
) -> Card:
    """Save the last epoch (every member of a cohort, the best of them as `last`) and complete the product's card.

    What the method leaves comes before, so that a finished run has it.

    The network of the best epoch is asked for every validation image again, and for the test images this once.
    """
    training = record(config, data, teacher, state, finished=True)
    measured = measure(students, validation, state.epoch)
    leader = students[leading(measured, config.measure)]
    folder.save_checkpoint(folder.last, leader, data.train.class_names, training)
    if len(students) > 1:
        for number, (student, metrics) in enumerate(zip(students, measured, strict=True), start=1):
            of_member = training.model_copy(update={"last": metrics})
            folder.save_checkpoint(folder.member(number), student, data.train.class_names, of_member)
    best = checkpoint.load(folder.best).model.to(validation.device)
    epoch = training.best.epoch
    judgement, answers = evaluate.judge_network(best, validation, epoch=epoch)
    judgements = {"validation": judgement}
    if data.test is not None:
        test = Batches(data.test, batch_size=validation.batch_size, device=validation.device)
        judgements["test"], _ = evaluate.judge_network(best, test, epoch=epoch, split="test")
    method.leave(folder.path, training)
    card = folder.finish(training.model_copy(update=judgements))
    show(folder, card, data.validation, answers)
    return card


def show(folder: RunFolder, card: Card, split: Split, answers: torch.Tensor | None) -> None:
    """Write the page of a finished run. It stays finished where that fails, and why is said."""
    try:
        from distill.run_page.page import write_page

        write_page(folder.path, card, split, answers)
    except Exception as error:  # fonts, templates and drawing may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"[yellow]{escape(f'{folder.path} is finished, but has no page: {reason}')}[/]")


def leading(cohort: list[AnyMetrics], measure: Measure) -> int:
    """Position of the best member; the first of equals."""
    return max(range(len(cohort)), key=lambda member: measure.score(getattr(cohort[member], measure.name)))


def train_epoch(
    stage: Underway,
    averaged: AveragedWeights | None,
    batches: Batches,
    config: RunConfig,
    epoch: int,
    meter: Meter,
    clock: StepClock,
) -> dict[str, float]:
    """One pass over the training images; returns the mean of each named loss.

    Raises:
        Diverged: a loss is not finite.
    """
    # Of dropout and whatever else draws from the global state; every process draws its own.
    torch.manual_seed((config.seed * 1_000_003 + epoch) * batches.share.count + batches.share.number)
    stage.start_epoch(epoch)
    watch = LossWatch(config, epoch, batches.device)
    for index, batch in enumerate(batches.epoch(epoch)):
        stage.start_step(epoch + index / len(batches), config.training)
        watch.add(index, stage.stepper(batch))
        if averaged is not None:
            averaged.update(epoch * len(batches) + index)
        clock.tick()
        if watch.due(index, len(batches)):
            meter.show(watch.check(), (index + 1) * batches.batch_size, index + 1)
    return watch.means()


def check(config: RunConfig, share: Share) -> None:
    """Raises UsageError for what can be known to be wrong before anything is loaded."""
    check_task(config)
    try_on_two_images(config.model, config.preprocess, config.task)
    share.check(config.training.batch_size, config.training.augment)
    if config.training.stochastic_depth is not None:
        with torch.random.fork_rng(devices=[]):
            network = build(config.model, num_classes=2, preprocess=config.preprocess).network
        set_stochastic_depth(network, config.training.stochastic_depth)
    if config.quantization_aware and share.count > 1:
        raise UsageError("a quantization-aware run keeps its ranges in one process; start it without torchrun.")
    if config.quantization_aware and config.training.weight_averaging:
        raise UsageError(
            "a quantization-aware run judges and keeps the weights that it rounds; an average of them was never "
            "rounded in training. Set training.weight_averaging=null."
        )
    if config.quantization_aware and config.training.judged_by != "accuracy":
        raise UsageError(
            "a quantization-aware run is judged by the accuracy of the rounded network. "
            "Set training.judged_by=accuracy."
        )
    if (search := config.search_run()) is not None:
        check(search, Share())
    if isinstance(config.teacher, TrainTeacher):
        try_on_two_images(config.teacher.model, config.teacher_run().preprocess, config.task)
        share.check(config.teacher.training.batch_size, config.teacher.training.augment)
    needs, kind = config.method.needs, config.method.kind
    if needs.teacher != "none" and config.teacher is None:
        raise UsageError(
            f"method {kind} needs a teacher. Set one, e.g. --set teacher.kind=checkpoint --set teacher.path=RUN"
        )
    if needs.teacher == "none" and config.teacher is not None:
        raise UsageError(f"method {kind} has no use for a teacher. Remove it: --set teacher=null")
    if needs.teacher == "taps" and isinstance(config.teacher, LogitsTeacher | ProgramTeacher):
        raise UsageError(
            f"method {kind} reads activations inside the teacher, which a teacher of kind {config.teacher.kind} does "
            "not show. Bring it as a checkpoint or as a library network with its weights."
        )
    if config.hints is not None:
        check_search(config.method, config.hints)
    if needs.one_process and share.count > 1:
        raise UsageError(f"method {kind} cannot share a batch with other processes; start it without torchrun.")


def check_task(config: RunConfig) -> None:
    """Raises UsageError for a method or a setting that the task has no use for."""
    task, settings, augment = config.task, config.training, config.training.augment
    if task.name not in config.method.needs.tasks:
        able = [kind for kind, method in METHODS.items() if _is_for(method, task)]
        raise UsageError(
            f"method {config.method.kind} is for {' and '.join(config.method.needs.tasks) or 'no common task'}; the "
            f"data set asks for {task.name}. Methods for it: {', '.join(able)}, and sums of them."
        )
    if not task.is_dense:
        return
    unfit = {
        "training.augment.mixup": augment.mixup,
        "training.augment.cutmix": augment.cutmix,
        "training.label_smoothing": settings.label_smoothing,
        "training.class_weights": settings.class_weights,
        "training.sampling=balanced": settings.sampling == "balanced",
        "training.judged_by=macro_f1": settings.judged_by == "macro_f1",
        "quantization_aware": config.quantization_aware,
        "hints": config.hints,
        "teacher.calibrate": isinstance(config.teacher, TrainTeacher) and config.teacher.calibrate,
    }
    if task.name == "depth":
        # A part that is enlarged looks nearer than it is.
        unfit["training.augment.resized_crop"] = augment.resized_crop
    for setting, value in unfit.items():
        if value:
            raise UsageError(f"{setting} is of no use for {task.name}, which the data set asks for. Leave it out.")
    if isinstance(config.teacher, LogitsTeacher | ProgramTeacher):
        raise UsageError(
            f"a teacher of kind {config.teacher.kind} answers for pictures, not for every pixel. Bring one for "
            f"{task.name} as a checkpoint or as a library network with its weights."
        )


def _is_for(method: type[AnyMethod], task: Task) -> bool:
    """Whether a method is for a task as it comes; a sum is what its parts are."""
    return not issubclass(method, WeightedSumConfig) and task.name in method().needs.tasks


def prepare_teacher(
    config: RunConfig, data: Data, path: Path, processes: Processes, log: Literal["tensorboard"] | None
) -> tuple[Teacher | None, Path | None]:
    """Load the teacher, training it first if the run says so and it has not been done on these data.

    Returns:
        The teacher, and its run folder if it was trained for this run.
    """
    if config.teacher is None:
        return None, None
    source, run_path = config.teacher, None
    if isinstance(source, TrainTeacher):
        run_path = checkpoint_path = train_teacher(config, source, data, path, processes, log)
        if source.calibrate:
            checkpoint_path = processes.first(calibration.calibrate_run, run_path)
        source = CheckpointTeacher(path=str(checkpoint_path))
    teacher = teachers.load(
        source,
        channels=config.dataset.channels,
        class_names=data.train.class_names,
        pictures=data.train,
        task=config.task.name,
    )
    check_views(config, teacher.preprocess)
    for taps in config.method.needs.taps if config.hints is None else ():
        check_teacher(taps, teacher.sha256, teacher.source)
    return teacher, run_path


def find_hints(
    config: RunConfig, data: Data, teacher: Teacher | None, device: torch.device, begun: RunFolder | None
) -> Hints | None:
    """What the search of the teacher finds that the run asks for; None if it asks for none.

    A run that was begun goes on with what it has found then.
    """
    if config.hints is None:
        return None
    assert teacher is not None, "check has refused methods without one"
    if begun is not None and (hints := begun.found_hints()) is not None:
        return hints
    searched = guests.of_teacher(config, teacher, data.train)
    hints = search(searched, config.hints, device)
    say(escape(f"hints in {teacher.source}: {', '.join(hints.points)}"))
    for remark in remarks(hints):
        say(escape(remark))
    return hints


def with_found(config: RunConfig, hints: Hints | None) -> RunConfig:
    """The configuration with a method that reads the teacher at the hints found; the card records it so."""
    if hints is None:
        return config
    return config.model_copy(update={"method": at_hints(config.method, hints, sha256=hints.file_sha256)})


def prepare_process(
    config: RunConfig, data: Data, path: Path, processes: Processes, log: Literal["tensorboard"] | None
) -> RunConfig:
    """The run with the process that its method follows, searched beside `path` now unless it was.

    Raises:
        UsageError: it was searched on other data than there are now, or would have to be by several processes.
    """
    searching = config.search_run()
    if searching is None:
        return config
    folder = path.parent / searching.name
    card = processes.first(RunFolder(folder, searching).finished)
    if card is None:
        say(escape(f"searching the process first: {searching.model} in {folder}"))
        card = train(searching, folder, resume=True, log=log)
    RunFolder(folder, searching).require_same_data(RunData.of_card(card), RunData.of(data))
    return config.model_copy(update={"method": with_process(config.method, folder / PROCESS_FILE)})


def train_teacher(
    config: RunConfig,
    source: TrainTeacher,
    data: Data,
    path: Path,
    processes: Processes,
    log: Literal["tensorboard"] | None,
) -> Path:
    """The run folder of the teacher, beside `path`, trained now unless it was; one of other data is left alone."""
    run = config.teacher_run()
    plain = path.parent / run.name
    then = processes.first(RunFolder(plain, run).data_of_record)
    with processes.first_goes_ahead():
        now = RunData.of(data if run.preprocess == config.preprocess else load_data(run))
    folder = plain
    if then is not None and then != now:
        folder = plain.with_name(f"{plain.name}-{sha256_of_json(now.model_dump(mode='json'))[:8]}")
        say(escape(f"the teacher in {plain} is not asked: it learnt from other data ({then.changes(now)})"))
    if processes.first(RunFolder(folder, run).finished) is None:
        check_views(config, source.image or config.image)
        check_method(config, data, source)
        say(escape(f"training the teacher first: {run.model} in {folder}"))
        train(run, folder, resume=True, log=log)
    return folder


def check_method(config: RunConfig, data: Data, source: TrainTeacher) -> None:
    """Build the method for untrained networks; raises UsageError before a teacher is trained for nothing."""
    students, teacher, theirs = [], None, source.image or config.image
    if config.method.needs.taps:
        num_classes = len(data.train.class_names)
        students = build_students(config, config.method.needs.students, num_classes)
        sees = theirs.preprocess(config.dataset.channels)
        teacher = build(source.model, num_classes=num_classes, preprocess=sees)
        if config.hints is not None:
            enough_blocks(teacher, sees, config.hints, source.model)
    built = dry_run(config, data, students, teacher, teacher_px=theirs.size_px)
    spans(built.method.stages(), config.training.epochs, kind=config.method.kind)


def check_views(config: RunConfig, teacher: ImageSettings | Preprocess | None) -> None:
    """Raises UsageError if the method wants the teacher to see more than the student and it does not."""
    if not config.method.needs.larger_teacher_view:
        return
    theirs = None if teacher is None else teacher.size_px
    if theirs is None or theirs <= config.image.size_px:
        raise UsageError(
            f"method {config.method.kind} is for a teacher that sees larger images than the student; the teacher sees "
            f"{theirs or 'unknown'} px, the student {config.image.size_px} px. Lower image.size_px or, for a teacher "
            "that is trained here, set teacher.image.size_px."
        )


def averages(config: RunConfig, students: list[ImageClassifier], device: torch.device) -> AveragedWeights | None:
    """The moving averages of the students' weights, if the run wants them."""
    settings = config.training.weight_averaging
    return None if settings is None else AveragedWeights(settings, students, device)


def hold_back(batches: Batches, config: RunConfig) -> tuple[Batches, EndlessBatches | None]:
    """The batches to train on, and those that the method wants held back; by patient where patients are known.

    Raises:
        UsageError: there are too few patients (or images) to divide.
    """
    parts = divide(batches.split, config)
    if parts is None:
        return batches, None
    held, kept = parts
    return batches.part(kept), EndlessBatches(batches.part(held))


def divide(split: Split, config: RunConfig) -> tuple[Tensor, Tensor] | None:
    """Positions of the training images that are held back, and of the others; None if the method wants all.

    Raises:
        UsageError: there are too few patients (or images) to divide.
    """
    share = config.method.needs.held_back
    if not share:
        return None
    held, kept = (torch.from_numpy(positions) for positions in split.divided(share, seed=config.seed))
    if min(len(held), len(kept)) < FEWEST_IMAGES:
        raise UsageError(
            f"method {config.method.kind} holds {100 * share:g} % of the training images back, but there are too few "
            f"patients to divide {len(split)} images so. Use more data."
        )
    return held, kept


def build_students(config: RunConfig, count: int, num_classes: int) -> list[ImageClassifier]:
    """Students as they begin, each other than the next if only in its classifier, channels last in memory."""
    students = [build(config.model, num_classes=num_classes, preprocess=config.preprocess) for _ in range(count)]
    for student in students:
        if config.training.weights is not None:
            begin_with(student.network, config.training.weights, config.model)
        if config.training.stochastic_depth is not None:
            set_stochastic_depth(student.network, config.training.stochastic_depth)
        student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if config.quantization_aware is None:
            use_fast_depthwise(student)
    return students


def capture(state: State, stage: Underway, averaged: AveragedWeights | None) -> None:
    """Copy everything trainable into the state."""
    state.stage = stage.span.stage.name
    state.model = to_cpu(dict(stage.objective.students.state_dict()))
    state.method = to_cpu(dict(stage.objective.method.state_dict()))
    state.optimizer, state.stepper = to_cpu(stage.optimizer.state_dict()), to_cpu(stage.stepper.state_dict())
    state.averages = {} if averaged is None else to_cpu(averaged.state_dict())


def restore(state: State, objective: Objective, averaged: AveragedWeights | None) -> None:
    """Put the weights of an earlier session back, if there is one; the optimizer's state follows in `stages.start`."""
    if state.epoch:
        objective.students.load_state_dict(state.model)
        objective.method.load_state_dict(state.method)
        if averaged is not None:
            averaged.load_state_dict(state.averages)


def stale(state: State, settings: TrainingSettings) -> bool:
    """True if the network has not improved for as long as the settings allow."""
    return settings.early_stopping_patience is not None and state.stale_epochs >= settings.early_stopping_patience


def advance(state: State, metrics: AnyMetrics, row: dict[str, object], measure: Measure) -> None:
    """Take one finished epoch into the state; `state.best is state.last` if it was the best so far."""
    state.epoch += 1
    entry = {**metrics.model_dump(), **row}
    state.last = metrics
    if entry.get("judged", True):
        earlier = [score(row, measure) for row in state.history if row.get("judged", True)]
        improved = score(entry, measure) > max(earlier, default=-math.inf)
        state.best = metrics if improved else state.best
        state.stale_epochs = 0 if improved else state.stale_epochs + 1
    state.history.append(entry)


def score(row: Mapping[str, Any], measure: Measure = TASKS["classification"].measure) -> float:
    """What decides which epoch is best, the larger the better: the measure on the validation images.

    If the network is rounded, its accuracy under rounding.
    """
    return row["quantized_accuracy"] if "quantized_accuracy" in row else measure.score(row[measure.name])


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
    assert state.last is not None
    (title, quality), (second, other), *_ = state.last.figures().items()
    return (
        f"{config.name}  epoch {state.epoch:>3}/{config.training.epochs}  {losses}  "
        f"{title} {quality}{rounded}  {second.removeprefix('macro ')} {other}  {row['images_per_s']:.0f} images/s"
        f"{'  best so far' if state.best is state.last else ''}"
    )
