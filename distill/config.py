"""The settings of a run: strict, frozen, complete. A run folder's `config.json` is exactly this."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError

from distill.contract import LATER, Strict, explain, sha256_of_json
from distill.errors import UsageError
from distill.hints.options import HintSearch
from distill.hints.use import with_hints
from distill.methods import MethodConfig
from distill.methods.distpro import DistProConfig
from distill.methods.distpro_search import DistProSearchConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.task_losses import DepthError
from distill.process.use import with_process
from distill.vision.datasets import DatasetConfig
from distill.vision.datasets.folder_tree import readable_name
from distill.vision.datasets.moved import without_place
from distill.vision.origin import Origin
from distill.vision.preprocess import Preprocess, ResizeRule
from distill.vision.tasks import MACRO_F1, TASKS, Measure, Task

Positive = Annotated[int, Field(ge=1)]

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""What torch takes as one."""

HINTS, PROCESS = "method.hints=", "method.process="
"""Assignments of files, which are no settings themselves."""


class _Derived:
    """Marks what is derived when a run begins, from its settings and files: no part of the identity."""


DERIVED = _Derived()


class ImageSettings(Strict):
    """What the network sees; together with the data set's channels this becomes its `Preprocess`.

    Attributes:
        mean, std: one value for all channels, or one each; for pixels in [0, 1].
    """

    size_px: Annotated[int, Field(ge=8, le=2048)]
    resize: ResizeRule = "stretch"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)

    def preprocess(self, channels: Literal[1, 3]) -> Preprocess:
        """The complete rule for data with this many channels; raises UsageError if mean or std do not fit."""
        mean = self.mean * channels if len(self.mean) == 1 else self.mean
        std = self.std * channels if len(self.std) == 1 else self.std
        try:
            return Preprocess(size_px=self.size_px, resize=self.resize, channels=channels, mean=mean, std=std)
        except ValidationError as error:
            raise UsageError(f"image: {explain(error)}") from error


class GuestImage(Strict):
    """What a teacher from elsewhere sees; what is None is its library's own, or ImageNet's for a program.

    Attributes:
        size_px: None also for the size that a `.pt2` program was exported for.
        mean, std: one value for all channels, or one each; for pixels in [0, 1]. A network made for values in [0, 255]
            has mean 0 and std 0.00392157 (1 / 255), one that normalises itself mean 0 and std 1.
    """

    size_px: Annotated[int, Field(ge=8, le=2048)] | None = None
    resize: ResizeRule = "stretch"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class AdamW(Strict):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class SGD(Strict):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    nesterov: bool = False


class Cosine(Strict):
    """Half a cosine from the full rate to zero after a linear warm-up, per step."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0

    def factor(self, epoch: float, epochs: int) -> float:
        """Share of the full rate at a (fractional, 0-based) epoch, in [0, 1]."""
        import math

        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Steps(Strict):
    """The rate is multiplied by `gamma` at the start of each of these (0-based) epochs."""

    kind: Literal["steps"] = "steps"
    epochs: tuple[int, ...]
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1

    def factor(self, epoch: float, epochs: int) -> float:
        """Share of the full rate at a (fractional, 0-based) epoch, in (0, 1]."""
        return self.gamma ** sum(epoch >= milestone for milestone in self.epochs)


class OneCycle(Strict):
    """Half a cosine up to the full rate and half a cosine down to none, per step (Smith and Topin, arXiv:1708.07120).

    Deviation: momentum stays what the optimizer has.

    Attributes:
        rise: share of the epochs in which the rate rises.
        start: share of the full rate with which it begins.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.25
    start: Annotated[float, Field(gt=0, lt=1)] = 0.04

    def factor(self, epoch: float, epochs: int) -> float:
        """Share of the full rate at a (fractional, 0-based) epoch, in [0, 1]."""
        import math

        progress = min(epoch / epochs, 1.0)
        if progress < self.rise:
            return self.start + (1 - self.start) * 0.5 * (1 - math.cos(math.pi * progress / self.rise))
        return 0.5 * (1 + math.cos(math.pi * (progress - self.rise) / (1 - self.rise)))


class WeightAveraging(Strict):
    """An exponential moving average of the weights follows the training; it is what is judged and kept.

    Attributes:
        decay: share of the old average that stays in a step. In the first steps it is less, (1 + step) / (10 + step),
            so that the average forgets where it began.
    """

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.998


Share = Annotated[float, Field(ge=0, le=1)]


class RandomResizedCrop(Strict):
    """A random rectangle of the picture, stretched to the whole (Szegedy et al. 2015, arXiv:1409.4842).

    It is cut from the picture as the network sees it, so a small one is coarser than one cut from the file.

    Attributes:
        min_area: least share of the picture's area; the most is all of it.
        max_aspect: greatest ratio of its sides, either way.
    """

    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    max_aspect: Annotated[float, Field(ge=1)] = 4 / 3


class RandAugment(Strict):
    """A few operations in a row, each drawn from 14, all as strong (Cubuk et al. 2019, arXiv:1909.13719).

    Attributes:
        operations: how many in a row.
        magnitude: strength; 30 is the strongest.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    operations: Positive = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class TrivialAugment(Strict):
    """One operation, drawn from 14, of a random strength (Müller and Hutter 2021, arXiv:2103.10158, the wide space)."""

    kind: Literal["trivial_augment"] = "trivial_augment"


class ColourJitter(Strict):
    """Brightness, contrast and colour, each changed by a random factor between 1 - its value and 1 + its value."""

    brightness: Share = 0.2
    contrast: Share = 0.2
    saturation: Share = 0.2


class Erasing(Strict):
    """A random rectangle is painted black (Zhong et al. 2017, arXiv:1708.04896).

    Attributes:
        pictures: share of the pictures to which it happens.
        min_area, max_area: share of the picture's area.
        max_aspect: greatest ratio of its sides, either way.
    """

    pictures: Share = 0.25
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.02
    max_area: Annotated[float, Field(gt=0, le=1)] = 0.33
    max_aspect: Annotated[float, Field(ge=1)] = 3.3


class Augment(Strict):
    """Random views, drawn on the training device. Where they repeat, or there are none, teacher outputs can be kept.

    What is set happens in the order of this list. Two pictures that are mixed are neighbours in a batch, and both are
    mixed with the other; the label losses then aim at both labels by their shares, a teacher sees the very mixture and
    is asked in every step. With `mixup` and `cutmix` every second pair, at random, is mixed the one or the other way.

    Attributes:
        crop_padding_px: pad with black by so much, then cut the original size at a random place.
        horizontal_flip: mirror every second picture (never for echo: a mirrored heart is another view).
        resized_crop: stretch a random part to the whole.
        policy: operations drawn at random, of shape and colour.
        colour: random brightness, contrast and saturation.
        erasing: paint a random rectangle black.
        mixup: alpha of the Beta distribution by which pictures are blended (Zhang et al. 2017, arXiv:1710.09412).
        cutmix: alpha of the Beta distribution by which a part of one is put into the other (Yun et al. 2019,
            arXiv:1905.04899).
        kept_views: every picture has so many views, drawn once and shown in turn, one in each epoch; a teacher is asked
            once for each of them. None = new views in every epoch, for which a teacher is asked in every step.
    """

    crop_padding_px: Annotated[int, Field(ge=0)] = 0
    horizontal_flip: bool = False
    resized_crop: Annotated[RandomResizedCrop | None, LATER] = None
    policy: Annotated[Annotated[RandAugment | TrivialAugment, Field(discriminator="kind")] | None, LATER] = None
    colour: Annotated[ColourJitter | None, LATER] = None
    erasing: Annotated[Erasing | None, LATER] = None
    mixup: Annotated[Annotated[float, Field(gt=0)] | None, LATER] = None
    cutmix: Annotated[Annotated[float, Field(gt=0)] | None, LATER] = None
    kept_views: Annotated[Positive | None, LATER] = None

    @property
    def active(self) -> bool:
        """True if the network sees something else than the plain images."""
        settings = (self.resized_crop, self.policy, self.colour, self.erasing)
        changes = self.crop_padding_px > 0 or self.horizontal_flip or any(setting is not None for setting in settings)
        return changes or self.mixes

    @property
    def mixes(self) -> bool:
        """True if the network sees mixtures of two images."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def repeats(self) -> bool:
        """True if an image has a few views that come again."""
        return self.active and self.kept_views is not None and not self.mixes


class TrainingSettings(Strict):
    """How the weights are optimised.

    Attributes:
        weights: to begin with, instead of random ones: a file in any usual wrapping, or `pretrained` for those of the
            package that carries the network's (extra `pretrained`). The classifier is made anew for other classes.
        origin: of these weights; found when the run begins.
        backbone_lr_factor: all but the classifier (the last layer) learns at this share of the rate.
        layer_lr_decay: each block learns at this share of the rate of the one behind it.
        frozen: paths of modules that stand still with their batch statistics; `backbone` is all but the classifier.
        freeze_batch_norm: the statistics of every batch normalisation stand still, those of the weights it began with.
        label_smoothing: share of the label losses' aim that is spread over all classes.
        class_weights: `balanced` weighs an image's label loss by the images of all classes / (classes x images of its
            own), so that a rare class counts as much as a common one; None = every image counts the same.
        sampling: `balanced` draws the images of an epoch with replacement, every class equally often; `all` shows each
            image once.
        judged_by: what decides which epoch is best, and whether training still improves; masks and depth maps are
            judged by their task's measure.
        depth_error: how depth maps are compared with what is true and with a teacher's, see
            `distill.methods.task_losses`.
        clip_norm: a longer gradient (the 2-norm of all parameters' together) is shortened to this; None = never.
        weight_averaging: None = the weights of the last step are judged and kept.
        stochastic_depth: probability that an image passes the last residual block by its shortcut alone, less in
            earlier ones; None = as the network's library has it (`distill.training.stochastic_depth`).
        early_stopping_patience: stop after so many epochs without a better one; None = never.
        precision: `auto` is bf16-mixed on a GPU and full float32 on the CPU. A processor without instructions for
            bfloat16 computes bf16-mixed too, slower than float32; that is said.
    """

    epochs: Positive
    batch_size: Positive
    optimizer: Annotated[AdamW | SGD, Field(discriminator="kind")] = AdamW()
    schedule: Annotated[Cosine | Steps | OneCycle, Field(discriminator="kind")] = Cosine()
    augment: Augment = Augment()
    weights: Annotated[str | None, LATER] = None
    origin: Annotated[Origin | None, DERIVED] = None
    backbone_lr_factor: Annotated[float, Field(gt=0, le=10), LATER] = 1.0
    layer_lr_decay: Annotated[float, Field(gt=0, le=1), LATER] = 1.0
    frozen: Annotated[tuple[str, ...], LATER] = ()
    freeze_batch_norm: Annotated[bool, LATER] = False
    label_smoothing: Annotated[float, Field(ge=0, lt=1), LATER] = 0.0
    class_weights: Annotated[Literal["balanced"] | None, LATER] = None
    sampling: Annotated[Literal["all", "balanced"], LATER] = "all"
    judged_by: Annotated[Literal["accuracy", "macro_f1"], LATER] = "accuracy"
    depth_error: Annotated[DepthError, LATER] = "berhu"
    clip_norm: Annotated[Annotated[float, Field(gt=0)] | None, LATER] = None
    weight_averaging: Annotated[WeightAveraging | None, LATER] = None
    stochastic_depth: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, LATER] = None
    early_stopping_patience: Positive | None = None
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"


class TrainTeacher(Strict):
    """The teacher is trained here first, on the student's own data, unless it already was.

    Attributes:
        image: what it sees; None = the same as the student.
        calibrate: divide its logits by a temperature that is fitted to the validation images.
    """

    kind: Literal["train"] = "train"
    model: str
    training: TrainingSettings
    image: ImageSettings | None = None
    seed: Seed = 0
    calibrate: bool = False


class CheckpointTeacher(Strict):
    """The teacher is one of our checkpoints or run folders."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: str


class LibraryTeacher(Strict):
    """The teacher is a timm or torchvision network with a weights file.

    Attributes:
        model: `timm:NAME`, `torchvision:NAME` or one of our names.
        weights: safetensors, or a file of tensors that `torch.save` wrote, in any usual wrapping.
        class_names: in the order of its outputs; None = the data set's order.
    """

    kind: Literal["library"] = "library"
    model: str
    weights: str
    image: GuestImage = GuestImage()
    class_names: Annotated[tuple[str, ...] | None, LATER] = None


class ProgramTeacher(Strict):
    """The teacher is an exported program: `.pt2` (torch.export) or TorchScript, logits out.

    Attributes:
        image: mean and std are applied before it is called.
        channels: what it expects.
        class_names: in the order of its outputs; None = the data set's order.
    """

    kind: Literal["program"] = "program"
    path: str
    image: GuestImage = GuestImage()
    channels: Literal[1, 3] = 3
    class_names: Annotated[tuple[str, ...] | None, LATER] = None


class LogitsTeacher(Strict):
    """The teacher is nothing but its answers: a `.npy` file float [N, classes], one row per training image in order.

    Attributes:
        class_names: in the order of the columns; None = the data set's order.
    """

    kind: Literal["logits"] = "logits"
    path: str
    class_names: Annotated[tuple[str, ...] | None, LATER] = None


TeacherConfig = Annotated[
    TrainTeacher | CheckpointTeacher | LibraryTeacher | ProgramTeacher | LogitsTeacher, Field(discriminator="kind")
]


class QuantizationAware(Strict):
    """The student starts from a finished run and is trained while it computes as an int8 runtime would.

    A few epochs at a low rate are enough. While batch statistics or ranges keep moving, the last steps have nothing
    steady to learn for, so both can be frozen.

    Attributes:
        from_run: run folder or checkpoint of the same network.
        weights_sha256: of the weights it started from; found when the run begins.
        freeze_batch_norm_after: epochs after which the statistics of batch normalisation stand still; 0 = at once.
        freeze_ranges_after: epochs after which the ranges of the rounded values stand still.
    """

    from_run: str
    weights_sha256: str | None = None
    freeze_batch_norm_after: Annotated[int, Field(ge=0)] = 0
    freeze_ranges_after: Positive = 2


class RunConfig(Strict):
    """Everything that decides what a run computes.

    Attributes:
        name: names the run folder; no influence on the result.
        device: `auto` takes the GPU if there is one; `cuda` demands it. How many is said when a run is started, not
            here: `torchrun --nproc-per-node 4 -m distill run ...` divides each batch among four
            (`distill.training.processes`).
        model: the student (or the only network), a name of `distill.vision.models`.
        teacher: None for methods that need none.
        allow_weak_teacher: learn from a guest that is no better than chance on the training images.
        quantization_aware: None for a run that starts from random weights and computes in float.
        hints: the teacher is searched when it is there, and the method reads it at the hint points found, which the
            card then names; None = where `method.taps` says.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dataset: DatasetConfig
    image: ImageSettings
    model: str
    teacher: TeacherConfig | None = None
    allow_weak_teacher: bool = False
    method: MethodConfig
    training: TrainingSettings
    quantization_aware: Annotated[QuantizationAware | None, LATER] = None
    hints: Annotated[HintSearch | None, LATER] = None

    @property
    def preprocess(self) -> Preprocess:
        """What the student sees."""
        return self.image.preprocess(self.dataset.channels)

    @property
    def task(self) -> Task:
        """What the network answers: a fact of the data set."""
        return TASKS[self.dataset.task]

    @property
    def measure(self) -> Measure:
        """What decides which epoch is best."""
        others = {MACRO_F1.name: MACRO_F1} if self.task.name == "classification" else {}
        return others.get(self.training.judged_by, self.task.measure)

    @property
    def share(self) -> Measure:
        """What runs are compared by, a share in [0, 1]: what judges them where that is one, else the task's."""
        return self.measure if self.measure.unit == "%" else self.task.share

    def identity(self) -> str:
        """Hex SHA-256 of everything that decides the result.

        That is all but the name, the device, what is allowed, and where the data lie: what they are is hashed apart.
        """
        deciding = _without_unused(self, self.model_dump(mode="json"))
        deciding["dataset"] = without_place(deciding["dataset"])
        others = ("name", "device", "allow_weak_teacher")
        return sha256_of_json({key: value for key, value in deciding.items() if key not in others})

    def folder_name(self) -> str:
        """Of a run with changed settings: its name, and digits of what decides its result and where its data lie."""
        place = self.dataset.model_dump(mode="json")
        return f"{self.name}-{sha256_of_json({'run': self.identity(), 'place': place})[:8]}"

    def teacher_run(self) -> "RunConfig":
        """The run that trains the teacher: the same data and images, without a teacher of its own."""
        assert isinstance(self.teacher, TrainTeacher)
        teacher = RunConfig(
            name="teacher",
            seed=self.teacher.seed,
            device=self.device,
            dataset=self.dataset,
            image=self.teacher.image or self.image,
            model=self.teacher.model,
            method=ScratchConfig(),
            training=self.teacher.training,
        )
        return teacher.model_copy(update={"name": _name_beside("teacher", teacher)})

    def search_run(self) -> "RunConfig | None":
        """The run that searches the process that this one follows; None if it follows none, or one that is there."""
        method = self.method
        if not isinstance(method, DistProConfig) or (settings := method.search_first) is None:
            return None
        teacher = self.teacher
        if settings.teacher is not None:
            if not isinstance(teacher, TrainTeacher):
                raise UsageError("method.process.teacher names a network to train; that needs teacher.kind=train.")
            teacher = teacher.model_copy(update={"model": settings.teacher})
        search = self.model_copy(
            update={
                "name": "search",
                "seed": settings.seed,
                "model": settings.model or self.model,
                "teacher": teacher,
                "training": _in_quarters(self.training, settings.epochs),
                "method": DistProSearchConfig(
                    grid=method.grid,
                    normalisation=method.normalisation,
                    weight=method.weight,
                    factors=settings.factors,
                    held_back=settings.held_back,
                ),
            }
        )
        return search.model_copy(update={"name": _name_beside("search", search)})


def _name_beside(what: str, run: RunConfig) -> str:
    """Of a run that another one needs first: what it is, its network and what decides its result."""
    return f"{what}-{run.model.replace(':', '-')}-{run.identity()[:8]}"


def _in_quarters(training: TrainingSettings, epochs: int) -> TrainingSettings:
    """The training of a search: a rate that falls in steps does so after each quarter."""
    changes: dict[str, Any] = {"epochs": epochs, "early_stopping_patience": None}
    if isinstance(training.schedule, Steps):
        quarters = dict.fromkeys(round(epochs * part / 4) for part in (1, 2, 3))
        changes["schedule"] = training.schedule.model_copy(update={"epochs": tuple(quarters)})
    return training.model_copy(update=changes)


def _without_unused(value: object, dump: Any) -> Any:
    """The JSON `dump` of a setting without what is `LATER` and at its default, at any depth."""
    if isinstance(value, tuple | list):
        return [_without_unused(*pair) for pair in zip(value, dump, strict=True)]
    if not isinstance(value, BaseModel):
        return dump
    return {
        name: _without_unused(getattr(value, name), dump[name])
        for name, field in type(value).model_fields.items()
        if name in dump
        and DERIVED not in field.metadata
        and (LATER not in field.metadata or getattr(value, name) != field.default)
    }


def parse(raw: str | bytes, *, source: str) -> RunConfig:
    """A run configuration from JSON.

    Raises:
        UsageError: every unknown, missing or bad key at once, each with its dotted path.
    """
    try:
        return RunConfig.model_validate_json(raw)
    except ValidationError as error:
        try:
            given: object = json.loads(raw)
        except ValueError:
            given = None
        raise UsageError(f"{source}: {explain(error, given)}.") from error


def read(file: Path) -> RunConfig:
    """A run configuration from a file; raises UsageError as `parse`, and if the file cannot be read."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}.") from error
    return parse(raw, source=str(file))


def with_overrides(config: RunConfig, assignments: Iterable[str]) -> RunConfig:
    """A copy with `dotted.path=value` assignments applied; values are JSON, or plain text if they are not.

    A number in the path counts in a list from 0, as in `method.parts.1.weight=0.5`. Setting a `kind` to another value
    drops the keys that belonged to the old one, and comes before the settings of its group wherever it stands. A group
    that may be left out begins to exist with its first setting. What is for a text stays text, were it a number.
    `student.KEY` is another name of `training.KEY`. `method.hints=FILE` and `method.process=FILE` come last: the one
    fills in where the method reads the teacher (`distill.hints.use`), the other what it follows
    (`distill.process.use`).

    Raises:
        UsageError: a malformed assignment, an unknown key, or a value that is not allowed.
    """
    raw = config.model_dump(mode="json")
    assignments = list(assignments)
    files = [each for each in assignments if _names_a_file(each)]
    for assignment in _kinds_first([each for each in assignments if not _names_a_file(each)]):
        path, equals, text = assignment.partition("=")
        path = f"training.{path.removeprefix('student.')}" if path.startswith("student.") else path
        if not equals or not path:
            raise UsageError(f"--set {assignment!r}: expected key=value, e.g. --set training.epochs=5.")
        _assign(raw, path.split("."), text, assignment)
    _require_text(raw)
    changed = parse(json.dumps(raw), source="--set")
    last = {assignment.partition("=")[0]: assignment for assignment in files}
    for assignment in last.values():
        changed = _with_file(changed, assignment)
    return changed


def _require_text(raw: dict[str, Any]) -> None:
    """Raise UsageError for a path whose bytes are no text: a configuration, which is JSON, cannot keep it."""
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        remedy = (
            "Rename the folder, or lead to it by a link: ln -s OLD-NAME NEW-NAME"
            if encoding == "utf-8"
            else f"This shell reads names as {encoding}; one with all letters is LC_ALL=C.UTF-8"
        )
        before = error.object[: error.start].rpartition('"')[2]
        after = error.object[error.end :].partition('"')[0]
        name = readable_name(before + error.object[error.start : error.end] + after)
        raise UsageError(f"--set: the name {name!r} holds bytes that are no UTF-8. {remedy}.") from error


def _names_a_file(assignment: str) -> bool:
    return assignment.startswith(HINTS) or (assignment.startswith(PROCESS) and not assignment.endswith("}"))


def _with_file(config: RunConfig, assignment: str) -> RunConfig:
    if assignment.startswith(HINTS) and config.hints is not None:
        raise UsageError(
            f"--set {assignment}: this run searches its teacher for hints itself. Take those of the file alone with "
            "--set hints=null, or leave the file out."
        )
    fill_in = with_hints if assignment.startswith(HINTS) else with_process
    return config.model_copy(update={"method": fill_in(config.method, Path(assignment.partition("=")[2]))})


def _kinds_first(assignments: list[str]) -> list[str]:
    """The assignments in order, but each `GROUP.kind=...` before the first setting of its group that is not a kind."""
    ordered: list[str] = []
    for assignment in assignments:
        path = assignment.partition("=")[0]
        group = path.removesuffix("kind")
        inside = (
            place
            for place, earlier in enumerate(ordered)
            if earlier.startswith(group) and earlier.partition("=")[0] != path
        )
        at_end = len(ordered)
        ordered.insert(next(inside, at_end) if path.endswith(".kind") else at_end, assignment)
    return ordered


def _assign(raw: dict[str, Any], path: list[str], text: str, assignment: str) -> None:
    *parents, last = path
    group: Any = raw
    schema: list[type[Strict]] = [RunConfig]
    for depth, key in enumerate(parents, start=1):
        allowed = _allowed(schema, group, key)
        if isinstance(group, dict) and group.get(key) is None and _groups(allowed):
            group[key] = _default(schema, group, key)
        inner = _entry(group, key)
        if not isinstance(inner, dict | list):
            known = _known(schema, group) if isinstance(group, dict) else map(str, range(len(group)))
            where = ".".join(parents[:depth])
            raise UsageError(f"--set {assignment!r}: there is no group {where!r}. Known here: {', '.join(known)}.")
        schema = schema if isinstance(group, list) else _groups(allowed)
        group = inner
    value = _value(text, _allowed(schema, group, last))
    if isinstance(group, list):
        if _entry(group, last) is None:
            raise UsageError(f"--set {assignment!r}: {'.'.join(parents)} has {len(group)} entries, counted from 0.")
        group[int(last)] = value
        return
    if last == "kind" and group.get("kind") != value:
        group.clear()
    group[last] = value


def _entry(group: dict[str, Any] | list[Any], key: str) -> Any:
    if isinstance(group, dict):
        return group.get(key)
    return group[int(key)] if key.isdecimal() and int(key) < len(group) else None


def _known(schema: list[type[Strict]], group: Any) -> Iterable[str]:
    return dict.fromkeys(name for kind in _chosen(schema, group) for name in kind.model_fields)


def _chosen(schema: list[type[Strict]], group: Any) -> list[type[Strict]]:
    """Of the groups that may stand in a place the one of this `kind`; all where none is named."""
    kind = group.get("kind") if isinstance(group, dict) else None
    named = [each for each in schema if kind is not None and _kind(each) == kind]
    return named or schema


def _kind(group: type[Strict]) -> Any:
    field = group.model_fields.get("kind")
    return None if field is None else field.default


def _allowed(schema: list[type[Strict]], group: Any, key: str) -> tuple[Any, ...]:
    """The types that a setting may have: classes, and None's."""
    fields = [each.model_fields[key] for each in _chosen(schema, group) if key in each.model_fields]
    return tuple(kind for field in fields for kind in _types(field.annotation))


def _default(schema: list[type[Strict]], group: Any, key: str) -> dict[str, Any]:
    """What a group holds before its first setting, so that it has the `kind` it has by default."""
    fields = [each.model_fields[key] for each in _chosen(schema, group) if key in each.model_fields]
    groups = [field.default for field in fields if isinstance(field.default, BaseModel)]
    return groups[0].model_dump(mode="json") if groups else {}


def _types(annotation: Any) -> Iterator[Any]:
    """What a value may be: classes, `list`, and the groups in a list."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (tuple, list):
        yield list
        yield from _groups(tuple(kind for each in inner for kind in _types(each)))
    elif inner and origin is not Literal:
        yield from (kind for each in inner for kind in _types(each))
    else:
        yield annotation


def _groups(allowed: tuple[Any, ...]) -> list[type[Strict]]:
    return [kind for kind in allowed if isinstance(kind, type) and issubclass(kind, Strict)]


def _value(text: str, allowed: tuple[Any, ...]) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if str in allowed and type(value) not in allowed else value


def differences(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two configurations differ: `path: left -> right`, sorted by path."""
    lines: list[str] = []
    for key in sorted(left.keys() | right.keys()):
        a, b = left.get(key), right.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines
