"""Quantization-aware fine-tuning: a finished student goes on learning while it computes as an int8 runtime would.

A network whose branches are folded before it is deployed learns without them.

The forward pass rounds every weight and every value that one integer operation hands to the next to 8 bits, the
backward pass lets the gradient through the rounding (Jacob et al. 2018, arXiv:1712.05877). The network itself is left
alone: its modules, names and batch normalisation are those of an ordinary run, and so is the checkpoint, which every
exporter then quantizes by its own recipe.

Deviations from the paper, and why torchao's PT2E flow is not used:

- Weights are rounded per output channel with a symmetric grid. Such a grid commutes with a factor per channel, so
  folding batch normalisation into the weights first would round to the same values, and is left out.
- torchao 0.18 replaces batch normalisation by one with a fixed epsilon of 1e-5 (`qat_utils.py`: "allow setting eps").
  MobileNetV3 has 1e-3. Of a distilled MobileNetV3-Small, where a quarter of the channels had a variance below 0.01, the
  prepared graph's logits were off by 2.0 with all rounding switched off, where the largest was 7.0.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.overrides import TorchFunctionMode

from distill import checkpoint
from distill.checkpoint import Checkpoint
from distill.config import QuantizationAware, RunConfig
from distill.errors import UsageError
from distill.evaluation import evaluate
from distill.terminal import say
from distill.training.batches import Batches
from distill.vision.deployment import without_branches
from distill.vision.factory import FOLDED
from distill.vision.models import ImageClassifier, build

MEMORY = 0.01
"""Share of a new batch in the moving average of a range, as in torchao."""

WEIGHTED = {"conv2d", "linear"}
SUMS = {"add", "add_"}
ABSORBED = {"batch_norm", "relu", "relu_", "relu6", "hardtanh", "hardtanh_"}
"""Runtimes compute these as part of the operation before, if it is one of WEIGHTED, SUMS or ABSORBED."""
OTHERS = {
    "mul",
    "mul_",
    "cat",
    "mean",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "silu",
}
ROUNDED = WEIGHTED | SUMS | ABSORBED | OTHERS
"""Operations, by torch's function name, whose result is rounded. What moves values needs none; others stay float."""


@dataclass(frozen=True)
class Operation:
    """One of ROUNDED in the order in which the network calls them.

    Attributes:
        range: position of its result's range, or None if the next operation absorbs it.
    """

    name: str
    range: int | None


class FakeQuantized(nn.Module):
    """A student whose weights and intermediate values are rounded to 8 bits on the way.

    In training mode the ranges of the values follow the batches until they are frozen; in eval mode they stand still.
    It computes in float32 whatever the run's precision, since bfloat16 is no finer than the grid.

    Attributes:
        student: the network that learns; without this wrapper it computes in float as ever.
        low, high: float32 [ranges], the moving averages of the smallest and largest value.
        scale, zero_point: float32 and int32 [ranges], of the int8 grid.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor
    observes: Tensor
    rounds: Tensor

    def __init__(self, student: ImageClassifier, example: Tensor, settings: QuantizationAware) -> None:
        """Find the operations of the student.

        Args:
            student: in float, its weights loaded.
            example: images float32 [B, C, H, W].
            settings: when to freeze.

        Raises:
            UsageError: the student has nothing to round, or does other operations in training than in evaluation.
        """
        super().__init__()
        self.student = student
        self.settings = settings
        self.operations = operations(student, example)
        ranges = sum(operation.range is not None for operation in self.operations)
        self.register_buffer("low", torch.full((ranges,), math.inf))
        self.register_buffer("high", torch.full((ranges,), -math.inf))
        self.register_buffer("scale", torch.ones(ranges))
        self.register_buffer("zero_point", torch.zeros(ranges, dtype=torch.int32))
        self.register_buffer("observes", torch.ones(1, dtype=torch.int64), persistent=False)
        self.register_buffer("rounds", torch.ones(1, dtype=torch.int64), persistent=False)
        self.epoch = 0

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1] -> logits [B, classes], as int8 would have them."""
        with torch.autocast(images.device.type, enabled=False), _Rounding(self):
            return self.student(images)

    def start_epoch(self, epoch: int) -> None:
        """Tell which epoch (0-based) the next training steps belong to; a resumed run freezes what a whole one does."""
        self.epoch = epoch

    def train(self, mode: bool = True) -> "FakeQuantized":
        """Switch modes; what is frozen in this epoch stays as in evaluation."""
        super().train(mode)
        self.observes.fill_(mode and self.epoch < self.settings.freeze_ranges_after)
        if mode and self.epoch >= self.settings.freeze_batch_norm_after:
            for module in self.student.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def rounded(self, values: Tensor, position: int) -> Tensor:
        """Values on the int8 grid of their range, which takes them into account first while ranges are observed."""
        own = slice(position, position + 1)
        return torch.fused_moving_avg_obs_fake_quant(
            values,
            self.observes,
            self.rounds,
            self.low[own],
            self.high[own],
            self.scale[own],
            self.zero_point[own],
            MEMORY,
            -128,
            127,
            -1,
        )


def rounded_weights(weight: Tensor) -> Tensor:
    """Weights [out, ...] on a symmetric grid of -127 ... 127 per output channel; gradients pass unchanged."""
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    scale = (largest / 127).clamp(min=torch.finfo(torch.float32).tiny)
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -127, 127)


class _Rounding(TorchFunctionMode):
    """One forward pass: every call of a torch function by the network comes through here."""

    def __init__(self, owner: FakeQuantized) -> None:
        super().__init__()
        self.owner = owner
        self.coming = iter(owner.operations)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if not _is_rounded(name, args):
            return func(*args, **kwargs)
        operation = next(self.coming, None)
        if operation is None or operation.name != name:
            raise UsageError(f"the network called {name} where {operation and operation.name} was expected: {_FIXED}")
        if name in WEIGHTED:
            args, kwargs = _with_rounded_weights(args, kwargs)
        result = func(*args, **kwargs)
        return result if operation.range is None else self.owner.rounded(result, operation.range)


def _is_rounded(name: str, args: tuple[Any, ...]) -> bool:
    """Whether it is one of ROUNDED on floats: batch normalisation counts its batches by `add_`."""
    first = args[0] if args else None
    return name in ROUNDED and not (isinstance(first, Tensor) and not first.is_floating_point())


_FIXED = "quantization-aware training needs a network that does the same operations for every batch."


def _with_rounded_weights(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if "weight" in kwargs:
        return args, {**kwargs, "weight": rounded_weights(kwargs["weight"])}
    images, weight, *others = args
    return (images, rounded_weights(weight), *others), kwargs


class _Recording(TorchFunctionMode):
    """Notes the operations of a forward pass, and which of them the next one absorbs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.absorbed: set[int] = set()
        self.results: list[Tensor] = []  # kept alive, so that no two have the same id
        self.maker: dict[int, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        if not _is_rounded(name, args):
            return func(*args, **(kwargs or {}))
        source = self.maker.get(id(args[0])) if args else None
        if name in ABSORBED and source is not None and self.names[source] in WEIGHTED | ABSORBED | SUMS:
            self.absorbed.add(source)
        result = func(*args, **(kwargs or {}))
        self.maker[id(result)] = len(self.names)
        self.results.append(result)
        self.names.append(name)
        return result


def operations(student: nn.Module, example: Tensor) -> tuple[Operation, ...]:
    """What the student computes, in order; it is not changed.

    Raises:
        UsageError: nothing to round, or other operations in training than in evaluation.
    """
    seen: list[_Recording] = []
    for training in (False, True):
        with torch.no_grad(), _Recording() as recording:
            copy.deepcopy(student).train(training)(example)
        seen.append(recording)
    evaluated, trained = seen
    if evaluated.names != trained.names:
        raise UsageError(f"the network does other operations in training than in evaluation: {_FIXED}")
    if not WEIGHTED.intersection(evaluated.names):
        raise UsageError(f"the network has none of {', '.join(sorted(WEIGHTED))}: there is nothing to quantize.")
    sequence: list[Operation] = []
    ranges = 0
    for number, name in enumerate(evaluated.names):
        absorbed = number in evaluated.absorbed
        sequence.append(Operation(name, None if absorbed else ranges))
        ranges += not absorbed
    return tuple(sequence)


def pinned(config: RunConfig) -> RunConfig:
    """A quantization-aware run with the hash of the weights it starts from; any other run as it is.

    Raises:
        UsageError: there is no finished checkpoint to start from, it is of another network or sees other images, it
            changed since the hash was taken, or the method trains more than one student.
    """
    settings = config.quantization_aware
    if settings is None:
        return config
    if (count := config.method.needs.students) > 1:
        raise UsageError(f"method {config.method.kind} trains {count} students; fine-tuning starts from one network.")
    try:
        folder = checkpoint.find(Path(settings.from_run))
        card = checkpoint.read_card(folder)
    except UsageError as error:
        raise UsageError(f"quantization_aware.from_run: {error}") from error
    where = f"quantization_aware.from_run={settings.from_run}"
    if card.training is not None and not card.training.finished:
        raise UsageError(f"{where} is not finished; continue it first: python -m distill run {folder.parent} --resume")
    if card.model.removeprefix(FOLDED) != config.model.removeprefix(FOLDED):
        raise UsageError(
            f"{where} is a {card.model}, this run is for {config.model}. Add --set model={card.model} or name another."
        )
    if card.preprocess != config.preprocess:
        raise UsageError(f"{where} sees {card.preprocess}, this run {config.preprocess}. Make image the same.")
    if card.temperature != 1:
        raise UsageError(f"{where} is calibrated. Start from the plain checkpoint and calibrate what comes out.")
    if settings.weights_sha256 not in (None, card.weights_sha256):
        raise UsageError(
            f"{where} holds other weights than this run started from ({card.weights_sha256[:12]}…, not "
            f"{settings.weights_sha256[:12]}…). Set quantization_aware.weights_sha256=null for a run of its own."
        )
    pin = settings.model_copy(update={"weights_sha256": card.weights_sha256})
    return config.model_copy(update={"quantization_aware": pin, "model": _as_it_is_deployed(config)})


def _as_it_is_deployed(config: RunConfig) -> str:
    """The name of the network without the branches that only training in float needs; integers never compute them.

    A network with such branches is rounded as the runtime will have it: the weights of the folded convolution are on
    the grid, and nothing between its branches is.
    """
    if config.model.startswith(FOLDED):
        return config.model
    with torch.random.fork_rng(devices=[]):
        model = build(config.model, num_classes=2, preprocess=config.preprocess).eval()
    if not without_branches(model, config.preprocess.input_shape).folded:
        return config.model
    folded = f"{FOLDED}{config.model}"
    say(f"{escape(config.model)} learns with its branches folded, as it is deployed: model={escape(folded)}")
    return folded


def prepare(students: list[ImageClassifier], config: RunConfig, class_names: tuple[str, ...]) -> list[nn.Module]:
    """What is trained: the students, in a quantization-aware run with the weights they start from and rounded.

    Raises:
        UsageError: other classes than the data's, or a network that cannot be rounded.
    """
    settings = config.quantization_aware
    if settings is None:
        return list(students)
    start = checkpoint.load(Path(settings.from_run))
    _check_classes(start, class_names)
    example = torch.zeros(2, config.preprocess.channels, config.image.size_px, config.image.size_px)
    weights = _weights_of(start, config)
    for student in students:
        student.load_state_dict(weights)
    return [FakeQuantized(student, example, settings) for student in students]


def _weights_of(start: Checkpoint, config: RunConfig) -> dict[str, Tensor]:
    """The weights to start from, folded where the run's network is."""
    if start.card.model == config.model:
        return start.model.state_dict()
    done = without_branches(start.model.eval(), config.preprocess.input_shape)
    if not done.folded:
        raise UsageError(f"{start.folder}: its branches cannot be folded: {done.failure or 'it has none'}.")
    return done.model.state_dict()


def _check_classes(start: Checkpoint, class_names: tuple[str, ...]) -> None:
    if start.card.class_names != class_names:
        raise UsageError(
            f"{start.folder} knows the classes {', '.join(start.card.class_names)}, the data set has "
            f"{', '.join(class_names)}. They must be the same, in the same order."
        )


def start_epoch(trained: list[nn.Module], epoch: int) -> None:
    """Tell the fake-quantized ones among them which epoch (0-based) comes."""
    for model in trained:
        if isinstance(model, FakeQuantized):
            model.start_epoch(epoch)


def rounded_accuracy(trained: list[nn.Module], validation: Batches) -> dict[str, float]:
    """`quantized_accuracy` on the whole validation split under rounding, in [0, 1]; empty for any other run."""
    for model in trained:
        if isinstance(model, FakeQuantized):
            return {"quantized_accuracy": evaluate.evaluate(model, validation, epoch=0).quality}
    return {}
