"""Teachers are guests: loaded, put into eval mode, asked without gradient, never changed.

A teacher is a network, or nothing but a table of answers to the training images. A network is tried when it is loaded
(`distill.teachers.guest`). Where an image looks the same in every epoch, it is asked once and becomes such a table,
which is kept for later runs.
"""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.markup import escape
from torch import Tensor, nn

from distill import checkpoint
from distill.config import CheckpointTeacher, GuestImage, LibraryTeacher, LogitsTeacher, ProgramTeacher, RunConfig
from distill.contract import explain, sha256_of_file, sha256_of_json
from distill.data import Data
from distill.errors import UsageError
from distill.methods import Outputs
from distill.taps import Taps
from distill.teachers.guest import Manner, as_logits, last_words, order_among, scale_notes, scale_of, tried
from distill.terminal import progress, say
from distill.training.batches import Batch, Batches
from distill.training.lightning import Fabric
from distill.vision.cache import cache_folder, cached_array
from distill.vision.datasets import Split
from distill.vision.models import IMAGENET, ImageClassifier, PublishedInput, build, published_input
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS, TaskName
from distill.vision.weights import fill, read_weights

PICTURES_TRIED = 8


@dataclass(frozen=True)
class Teacher:
    """A loaded teacher.

    Attributes:
        model: images in [0, 1] -> logits, or None if there are only `logits`.
        logits: float32 [num_train, classes], or None if there is a model.
        preprocess: what the model sees; None for a table of logits.
        class_names: None where the source does not say.
        sha256: of the weights or of the file.
        source: names it in messages.
        manner: how the model is asked.
    """

    model: ImageClassifier | None
    logits: Tensor | None
    preprocess: Preprocess | None
    class_names: tuple[str, ...] | None
    sha256: str
    source: str
    manner: Manner = field(default_factory=Manner)


def load(
    config: CheckpointTeacher | LibraryTeacher | ProgramTeacher | LogitsTeacher,
    *,
    channels: int,
    class_names: tuple[str, ...],
    pictures: Split | None = None,
    task: TaskName = "classification",
) -> Teacher:
    """Read a teacher from wherever it is, and try a network on a few images.

    Args:
        config: where it is.
        channels: of the data set.
        class_names: of the data set, in its order.
        pictures: the training images; a few of them are shown to a network beside noise.
        task: of the data set.

    Raises:
        UsageError: a missing, damaged or unsuitable file; another task or other classes than the data's; a network
            whose answers cannot be used (`distill.teachers.guest.tried`).
    """
    if isinstance(config, LogitsTeacher):
        return _from_logits(config, class_names)
    match config:
        case CheckpointTeacher():
            teacher = _from_checkpoint(config, task)
        case LibraryTeacher():
            teacher = _from_library(config, channels, len(class_names))
        case ProgramTeacher():
            teacher = _from_program(config)
    if teacher.class_names is not None and teacher.class_names != class_names:
        raise UsageError(
            f"the teacher {teacher.source} was trained for the classes {', '.join(teacher.class_names)}, the data set "
            f"has {', '.join(class_names)}. They must be the same, in the same order."
        )
    own_order = None if isinstance(config, CheckpointTeacher) else config.class_names
    if TASKS[task].is_dense:
        return _of_pixels(teacher, class_names, task, own_order)
    return _tried(teacher, class_names, pictures, own_order)


def _of_pixels(
    teacher: Teacher, class_names: tuple[str, ...], task: TaskName, own_order: tuple[str, ...] | None
) -> Teacher:
    """A network that answers for every pixel, ready to be asked; raises UsageError for one that does not."""
    assert teacher.model is not None
    assert teacher.preprocess is not None
    if own_order not in (None, class_names):
        raise UsageError("teacher.class_names of masks must be the data set's, in its order. Leave them out.")
    model = _freeze(teacher.model.eval())
    with torch.inference_mode():
        answers = model(torch.rand(2, *teacher.preprocess.input_shape, generator=torch.Generator().manual_seed(0)))
    expected = (2, *TASKS[task].output_shape(len(class_names), teacher.preprocess.size_px))
    if not isinstance(answers, Tensor) or answers.shape != expected or not bool(torch.isfinite(answers).all()):
        found = list(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
        raise UsageError(
            f"the teacher {teacher.source} answers two images with {found}; {task} takes finite {TASKS[task].answer}, "
            f"here {list(expected)}."
        )
    return replace(teacher, model=model)


def _tried(
    teacher: Teacher, class_names: tuple[str, ...], pictures: Split | None, own_order: tuple[str, ...] | None
) -> Teacher:
    assert teacher.model is not None
    assert teacher.preprocess is not None
    shown = None
    if pictures is not None:
        some = pictures.balanced(PICTURES_TRIED, seed=0)
        shown = torch.from_numpy(teacher.preprocess.to_input(some.images[np.arange(len(some))]))
    model, manner, notes = tried(
        teacher.model, teacher.preprocess, class_names, source=teacher.source, pictures=shown, own_order=own_order
    )
    for note in notes:
        say(escape(f"teacher {teacher.source}: {note}"))
    return replace(teacher, model=_freeze(model), manner=manner)


class TeacherAnswers:
    """Says what the teacher says of a batch: from a table if its view of an image never changes, else by asking.

    Attributes:
        table: float32 [kept views, N, classes]; None where the teacher is asked in every step.
        taps: of the model; None where nothing of it is tapped.
    """

    def __init__(self, config: RunConfig, data: Data, teacher: Teacher | None, fabric: Fabric) -> None:
        self.table: Tensor | None = None
        self.model: ImageClassifier | None = None
        self.size_px = 0
        self.taps: Taps | None = None
        self.statistics: Literal["kept", "batch"] = "kept"
        self.autocast = fabric.autocast
        if teacher is None:
            return
        if asked_every_step(config):
            self.model = _to_device(_model_for_views(config, teacher), fabric.device)
            self.statistics = config.method.needs.teacher_statistics
            self.size_px = view_px(config, teacher, of_teacher=True)
        elif shares_views(config):
            self.table = _table_of_views(config, data, teacher, fabric.device)
        else:
            self.table = _table(config, data, teacher, fabric.device)[None]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Outputs | None:
        """The teacher's outputs, or None without a teacher."""
        if self.table is not None:
            return Outputs(self.table[batch.view, batch.indices])
        if self.model is not None:
            with self.autocast(), _batch_statistics(self.model if self.statistics == "batch" else None):
                logits = self.model(resized(batch.images, self.size_px)).float()
            return Outputs(logits, {} if self.taps is None else self.taps.take())
        return None


@contextmanager
def _batch_statistics(model: nn.Module | None) -> Generator[None]:
    """Within the block the model's batch normalisation takes the batch's own statistics, and keeps what it has."""
    norms = [] if model is None else [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def asked_every_step(config: RunConfig) -> bool:
    """True if an image looks different in every epoch, or more is read than a row of logits: only they are kept."""
    augment = config.training.augment
    if config.task.is_dense:
        return True
    return (augment.active and not augment.repeats) or config.method.needs.teacher == "taps"


def shares_views(config: RunConfig) -> bool:
    """True if the teacher must see the very view that the student sees, and not a plain picture of its own."""
    return config.training.augment.active or asked_every_step(config)


def view_px(config: RunConfig, teacher: Teacher | None, *, of_teacher: bool = False) -> int:
    """Side of the images that batches carry: large enough for student and teacher (or just what the teacher sees).

    Only a teacher that sees the student's views matters; otherwise its answers come from its own copy of the data.
    """
    if teacher is None or teacher.preprocess is None or not shares_views(config):
        return config.image.size_px
    theirs = teacher.preprocess.size_px
    return theirs if of_teacher else max(theirs, config.image.size_px)


def resized(images: Tensor, size_px: int) -> Tensor:
    """Images [B, C, H, W] as [B, C, size_px, size_px]: bilinear with antialiasing, as `Preprocess` does on uint8."""
    if images.shape[-1] == size_px:
        return images
    return F.interpolate(images, (size_px, size_px), mode="bilinear", antialias=True)


def _model_for_views(config: RunConfig, teacher: Teacher) -> ImageClassifier:
    if teacher.model is None or teacher.preprocess is None:
        raise UsageError(
            "a teacher given as a file of logits knows only the plain images, but training.augment changes them. "
            "Set training.augment={}."
        )
    ours, theirs = config.preprocess, teacher.preprocess
    if (ours.resize, ours.channels) != (theirs.resize, theirs.channels):
        raise UsageError(
            f"the teacher sees {theirs.channels} channel(s) ({theirs.resize}), the student {ours.channels} "
            f"({ours.resize}). A teacher whose taps are read, or that teaches with training.augment, must see the "
            "student's view, at any size."
        )
    return teacher.model


def _table(config: RunConfig, data: Data, teacher: Teacher, device: torch.device) -> Tensor:
    """The teacher's answers to every training image, float32 [N, classes].

    A network is asked once; its answers are kept on disk under the hashes of the teacher, its preprocessing and the
    data, so that a change of any asks it again.
    """
    if teacher.model is None or teacher.preprocess is None:
        assert teacher.logits is not None
        table = teacher.logits
    else:
        model, preprocess = _to_device(teacher.model, device), teacher.preprocess

        def ask() -> NDArray[np.float32]:
            ours = config.preprocess
            same_view = preprocess.places_like(ours)
            split = data.train if same_view else config.dataset.load("train", preprocess)
            return _ask(model, Batches(split, batch_size=256, device=device), teacher.source)

        table = torch.from_numpy(cached_array(_kept_at(_asked(teacher, data, device)), ask))
    expected = (len(data.train), len(data.train.class_names))
    if tuple(table.shape) != expected:
        raise UsageError(
            f"the answers of the teacher {teacher.source} are {tuple(table.shape)}, expected {expected}: one row per "
            "training image, in the data set's order, one column per class. Were pictures added or removed since?"
        )
    return table.to(device)


def _table_of_views(config: RunConfig, data: Data, teacher: Teacher, device: torch.device) -> Tensor:
    """The teacher's answers to every kept view of every training image, float32 [views, N, classes].

    They are kept on disk as plain images' are, under what the views are made of as well.
    """
    model, augment = _to_device(_model_for_views(config, teacher), device), config.training.augment
    size_px = view_px(config, teacher)
    drawn = [augment.model_dump(mode="json"), config.seed, size_px]
    path = _kept_at([*_asked(teacher, data, device), *drawn])

    def ask() -> NDArray[np.float32]:
        split = training_views(config, data, teacher)
        batches = Batches(split, batch_size=256, device=device, augment=augment, seed=config.seed)
        theirs = view_px(config, teacher, of_teacher=True)
        views = range(augment.kept_views or 1)
        return np.stack([_ask(model, batches, teacher.source, size_px=theirs, view=view) for view in views])

    return torch.from_numpy(cached_array(path, ask)).to(device)


def training_views(config: RunConfig, data: Data, teacher: Teacher | None) -> Split:
    """The training images at a size that serves student and teacher."""
    size_px = view_px(config, teacher)
    if size_px == config.image.size_px:
        return data.train
    return config.dataset.load("train", config.preprocess.model_copy(update={"size_px": size_px}))


def _asked(teacher: Teacher, data: Data, device: torch.device) -> list[Any]:
    """What decides the answers of a network to the plain training images."""
    assert teacher.model is not None
    assert teacher.preprocess is not None
    return [
        teacher.sha256,
        teacher.model.temperature,
        [value.flatten().tolist() for value in (teacher.model.mean, teacher.model.inverse_std)],
        teacher.manner.as_json(),
        teacher.preprocess.model_dump(mode="json"),
        data.train_sha256,
        device.type,
        torch.__version__,
    ]


def _kept_at(identity: list[Any]) -> Path:
    return cache_folder() / f"teacher-logits-{sha256_of_json(identity)[:16]}.array"


@torch.inference_mode()
def _ask(
    model: nn.Module, batches: Batches, source: str, *, size_px: int | None = None, view: int | None = None
) -> NDArray[np.float32]:
    """Logits float32 [N, classes] of every image in the split's order, of a kept view or plain.

    Raises:
        UsageError: an answer is not finite; the teacher is named by its `source`.
    """
    answers: list[Tensor] = []
    title = "asking the teacher once" if view is None else f"asking the teacher once, view {view + 1}"
    with progress() as display:
        task = display.add_task(title, total=len(batches.split), note="")
        for batch in batches.in_order(view):
            images = batch.images if size_px is None else resized(batch.images, size_px)
            answers.append(model(images).float().cpu())
            display.advance(task, len(batch.labels))
    table = torch.cat(answers)
    broken = (~torch.isfinite(table)).any(dim=1).nonzero().flatten()
    if len(broken):
        raise UsageError(
            f"the teacher {source} answers NaN or infinity to {len(broken)} of {len(table)} training images, first to "
            f"number {int(broken[0]) + 1}. Its weights are broken, or its numbers are too large for its precision."
        )
    return table.numpy()


def _to_device(model: ImageClassifier, device: torch.device) -> ImageClassifier:
    return model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _from_checkpoint(config: CheckpointTeacher, task: TaskName) -> Teacher:
    card = checkpoint.read_card(checkpoint.find(Path(config.path)))
    if card.task != task:
        raise UsageError(
            f"the teacher {config.path} was trained for {card.task}, the data set asks for {task}. Bring a teacher of "
            "the same task, or set another data set."
        )
    loaded = checkpoint.load(Path(config.path))
    return Teacher(loaded.model, None, card.preprocess, card.class_names, card.weights_sha256, config.path)


def _from_library(config: LibraryTeacher, channels: int, num_classes: int) -> Teacher:
    path = _existing(config.weights)
    seen, inside = _input(config.image, published_input(config.model), 1 if channels == 1 else 3)
    _say_input(config.model, config.image, inside)
    model = build(config.model, num_classes=num_classes, preprocess=inside)
    fill(model.network, read_weights(path), source=path, name=f"{config.model} with {num_classes} classes")
    return Teacher(model.eval(), None, seen, None, sha256_of_file(path), config.model)


def _from_program(config: ProgramTeacher) -> Teacher:
    path = _existing(config.path)
    if path.suffix.lower() == ".onnx":
        raise UsageError(
            f"{path} is an ONNX file; a teacher's program is TorchScript or .pt2 (torch.export). Export it again from "
            "the network, or keep its answers to the training images in a .npy file: --set teacher.kind=logits."
        )
    network, size_px = _program(path)
    size_px = config.image.size_px or size_px
    if size_px is None:
        raise UsageError(f"{path} does not say what size it takes. Add --set teacher.image.size_px=SIZE.")
    own = IMAGENET if config.channels == 3 else PublishedInput(size_px, (0.5,), (0.5,))
    seen, inside = _input(config.image.model_copy(update={"size_px": size_px}), own, config.channels)
    _say_input(config.path, config.image, inside)
    model = _freeze(ImageClassifier(network, inside))
    return Teacher(model, None, seen, None, sha256_of_file(path), config.path)


def _program(path: Path) -> tuple[nn.Module, int | None]:
    """An exported program, and the size of the images it was exported for where that is known."""
    try:
        if path.suffix == ".pt2":
            # It logs the traceback of what it then raises in other words.
            logging.getLogger("torch.export").setLevel(logging.CRITICAL)
            exported = torch.export.load(path)
            return exported.module(), _exported_size(exported)
        with warnings.catch_warnings():
            # torch deprecates TorchScript; users still have their teachers in it.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu"), None
    except Exception as error:  # a damaged file may take its reader anywhere
        raise UsageError(
            f"{path} is neither a .pt2 nor a TorchScript program: {last_words(error)}. A file of weights is brought "
            "with --set teacher.kind=library --set teacher.model=NAME --set teacher.weights=FILE."
        ) from error


def _exported_size(exported: torch.export.ExportedProgram) -> int | None:
    """Height of the images that an exported program takes; None if it takes any."""
    images = next(iter(exported.graph_signature.user_inputs), None)
    shapes = [tuple(node.meta["val"].shape) for node in exported.graph.nodes if node.name == images]
    return next((shape[2] for shape in shapes if len(shape) == 4 and isinstance(shape[2], int)), None)


def _input(image: GuestImage, own: PublishedInput, channels: Literal[1, 3]) -> tuple[Preprocess, Preprocess]:
    """What a guest is shown, and the same with a mean and deviation for each of the three channels inside it.

    Grey images become three equal channels, each normalised by its own mean.
    """
    mean, std = (_three(chosen or default) for chosen, default in ((image.mean, own.mean), (image.std, own.std)))
    size_px = image.size_px or own.size_px
    try:
        inside = Preprocess(size_px=size_px, resize=image.resize, channels=3, mean=mean, std=std)
    except ValidationError as error:
        raise UsageError(f"teacher.image: {explain(error)}") from error
    if channels == 3:
        return inside, inside
    grey = {"channels": 1, "mean": (sum(mean) / 3,), "std": (sum(std) / 3,)}
    return inside.model_copy(update=grey), inside


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


def _say_input(source: str, image: GuestImage, inside: Preprocess) -> None:
    """One line about what a guest sees and how its pixels are normalised, which the user may not have said."""
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (inside.mean, inside.std))
    given = [name for name in ("size_px", "mean", "std") if getattr(image, name) is not None]
    unsaid = [name for name in ("size_px", "mean", "std") if name not in given]
    whose = f" ({', '.join(unsaid)} as published; teacher.image sets others)" if unsaid else ""
    say(escape(f"teacher {source}: sees {inside.size_px} px, mean {mean}, std {std}{whose}"))


def _from_logits(config: LogitsTeacher, class_names: tuple[str, ...]) -> Teacher:
    path = _existing(config.path)
    try:
        table = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file may take its reader anywhere
        raise UsageError(f"{path} is not a .npy array: {last_words(error)}") from error
    if isinstance(table, np.ndarray) and table.ndim == 1 and len(class_names) == 2:
        table = table[:, np.newaxis]
    if (
        not isinstance(table, np.ndarray)
        or table.ndim != 2
        or not np.issubdtype(table.dtype, np.floating)
        or not np.isfinite(table).all()
    ):
        description = f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else "several arrays"
        raise UsageError(f"{path}: expected finite logits [N, classes] as floats, found {description}.")
    answers = torch.from_numpy(table).float()
    if not torch.isfinite(answers).all():
        raise UsageError(f"{path} holds numbers too large for logits, up to {np.abs(table).max():g}.")
    if answers.shape[1] in (len(class_names), 1 if len(class_names) == 2 else len(class_names)):
        scale = scale_of(answers)
        for note in scale_notes(scale, class_names):
            say(escape(f"teacher {path}: {note}"))
        answers = as_logits(answers, scale)
    if config.class_names is not None:
        answers = answers[:, list(order_among(config.class_names, class_names))]
    return Teacher(None, answers, None, None, sha256_of_file(path), config.path)


def _existing(path: str) -> Path:
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"the teacher's file {file} {'is a folder' if file.is_dir() else 'does not exist'}.")
    return file


def _freeze(model: ImageClassifier) -> ImageClassifier:
    # An exported program refuses .eval(); its mode was fixed when it was exported.
    for module in model.modules():
        module.training = False
    return model.requires_grad_(False)
