"""Teachers are guests: loaded, put into eval mode, asked without gradient, never changed.

A teacher is a network, or nothing but a table of answers to the training images. Where an image looks the same in every
epoch, a network is asked once and becomes such a table, which is kept for later runs.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from distill import checkpoint
from distill.batches import Batch, Batches
from distill.config import CheckpointTeacher, LibraryTeacher, LogitsTeacher, ProgramTeacher, RunConfig
from distill.contract import sha256_of_file, sha256_of_json
from distill.data import Data
from distill.errors import UsageError
from distill.methods import Outputs
from distill.taps import Taps
from distill.terminal import progress
from distill.vision.cache import cache_folder, cached_array
from distill.vision.datasets import Split
from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess
from distill.vision.weights import fill, read_weights


@dataclass(frozen=True)
class Teacher:
    """A loaded teacher.

    Attributes:
        model: images in [0, 1] -> logits, or None if there are only `logits`.
        logits: float32 [num_train, classes], or None if there is a model.
        preprocess: what the model sees; None for a table of logits.
        class_names: None where the source does not say.
        sha256: of the weights or of the file.
    """

    model: ImageClassifier | None
    logits: Tensor | None
    preprocess: Preprocess | None
    class_names: tuple[str, ...] | None
    sha256: str


def load(
    config: CheckpointTeacher | LibraryTeacher | ProgramTeacher | LogitsTeacher,
    *,
    channels: int,
    class_names: tuple[str, ...],
) -> Teacher:
    """Read a teacher from wherever it is.

    Args:
        config: where it is.
        channels: of the data set.
        class_names: of the data set; the teacher must answer in this order.

    Raises:
        UsageError: a missing, damaged or unsuitable file; other classes than the data's.
    """
    match config:
        case CheckpointTeacher():
            teacher = _from_checkpoint(config)
        case LibraryTeacher():
            teacher = _from_library(config, channels, len(class_names))
        case ProgramTeacher():
            teacher = _from_program(config)
        case LogitsTeacher():
            teacher = _from_logits(config)
    if teacher.class_names is not None and teacher.class_names != class_names:
        raise UsageError(
            f"the teacher was trained for the classes {', '.join(teacher.class_names)}, the data set has "
            f"{', '.join(class_names)}. They must be the same, in the same order."
        )
    return teacher


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
        self.autocast = fabric.autocast
        if teacher is None:
            return
        if asked_every_step(config):
            self.model = _to_device(_model_for_views(config, teacher), fabric.device)
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
            with self.autocast():
                logits = self.model(resized(batch.images, self.size_px)).float()
            return Outputs(logits, {} if self.taps is None else self.taps.take())
        return None


def asked_every_step(config: RunConfig) -> bool:
    """True if an image looks different in every epoch, or more than logits is read: only they are kept."""
    augment = config.training.augment
    return (augment.active and augment.kept_views is None) or config.method.needs.teacher == "taps"


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
            "Set training.augment.crop_padding_px=0 and training.augment.horizontal_flip=false."
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
            same_view = preprocess.input_shape == config.preprocess.input_shape
            split = data.train if same_view else config.dataset.load("train", preprocess)
            return _ask(model, Batches(split, batch_size=256, device=device))

        table = torch.from_numpy(cached_array(_kept_at(_asked(teacher, data, device)), ask))
    expected = (len(data.train), len(data.train.class_names))
    if tuple(table.shape) != expected:
        raise UsageError(
            f"the teacher's answers are {tuple(table.shape)}, expected {expected}: one row per training image, in the "
            "data set's order, one column per class."
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
        return np.stack([_ask(model, batches, size_px=theirs, view=view) for view in range(augment.kept_views or 1)])

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
        teacher.preprocess.model_dump(mode="json"),
        data.train_sha256,
        device.type,
        torch.__version__,
    ]


def _kept_at(identity: list[Any]) -> Path:
    return cache_folder() / f"teacher-logits-{sha256_of_json(identity)[:16]}.array"


@torch.inference_mode()
def _ask(
    model: nn.Module, batches: Batches, *, size_px: int | None = None, view: int | None = None
) -> NDArray[np.float32]:
    """Logits float32 [N, classes] of every image in the split's order, of a kept view or plain."""
    answers: list[Tensor] = []
    title = "asking the teacher once" if view is None else f"asking the teacher once, view {view + 1}"
    with progress() as display:
        task = display.add_task(title, total=len(batches.split), note="")
        for batch in batches.in_order(view):
            images = batch.images if size_px is None else resized(batch.images, size_px)
            answers.append(model(images).float().cpu())
            display.advance(task, len(batch.labels))
    return torch.cat(answers).numpy()


def _to_device(model: ImageClassifier, device: torch.device) -> ImageClassifier:
    return model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _from_checkpoint(config: CheckpointTeacher) -> Teacher:
    loaded = checkpoint.load(Path(config.path))
    card = loaded.card
    return Teacher(_freeze(loaded.model), None, card.preprocess, card.class_names, card.weights_sha256)


def _from_library(config: LibraryTeacher, channels: int, num_classes: int) -> Teacher:
    path = _existing(config.weights)
    preprocess = config.image.preprocess(1 if channels == 1 else 3)
    model = build(config.model, num_classes=num_classes, preprocess=preprocess)
    fill(model.network, read_weights(path), source=path, name=f"{config.model} with {num_classes} classes")
    return Teacher(_freeze(model), None, preprocess, None, sha256_of_file(path))


def _from_program(config: ProgramTeacher) -> Teacher:
    path = _existing(config.path)
    try:
        if path.suffix == ".pt2":
            network: nn.Module = torch.export.load(path).module()
        else:
            with warnings.catch_warnings():
                # torch deprecates TorchScript; users still have their teachers in it.
                warnings.simplefilter("ignore", DeprecationWarning)
                network = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"{path} is neither a .pt2 nor a TorchScript program: {str(error).splitlines()[0]}") from error
    preprocess = config.image.preprocess(config.channels)
    return Teacher(_freeze(ImageClassifier(network, preprocess)), None, preprocess, None, sha256_of_file(path))


def _from_logits(config: LogitsTeacher) -> Teacher:
    path = _existing(config.path)
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{path} is not a .npy array: {error}") from error
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.floating) or not np.isfinite(table).all():
        raise UsageError(f"{path}: expected finite logits [N, classes] as floats, found {table.dtype} {table.shape}.")
    return Teacher(None, torch.from_numpy(table.astype(np.float32)), None, None, sha256_of_file(path))


def _existing(path: str) -> Path:
    found = Path(path)
    if not found.is_file():
        raise UsageError(f"the teacher's file {found} does not exist.")
    return found


def _freeze(model: ImageClassifier) -> ImageClassifier:
    # An exported program refuses .eval(); its mode was fixed when it was exported.
    for module in model.modules():
        module.training = False
    return model.requires_grad_(False)
