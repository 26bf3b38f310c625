"""Taps: activations inside a network, read by name with forward hooks, so that the network itself stays as it is.

A place is named by

- a module's path, `layer3` or `features.8`: what the module gives (in its last call, if it is called several times),
- `PATH:input`: what goes into it, e.g. `layer3.1.relu:input` for the sum before the last ReLU of a ResNet's block,
- `stage-end:N`: the end of the network's N-th stage, from 1, or from the deepest with -1
  (`distill.vision.models.stage_ends`),
- `block:N`: the end of its N-th block, `stem`: what goes into the first, `pooled`: the vector that goes into its
  classifier (`distill.vision.models.tap_points`),
- any of these with `:pre`: before the activation that lies there, as in `layer3:pre` or `stage-end:2:pre`.

`stage-ends` and `blocks` are all of them, `stage-ends:pre` and `blocks:pre` before their activations.
`python -m distill taps MODEL` lists them. Nothing is hooked, and nothing costs, where nothing is tapped.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from distill.contract import LATER, Strict
from distill.errors import UsageError

INPUT = ":input"
PRE = ":pre"

Places = (
    Literal["stage-ends", "stage-ends:pre", "blocks", "blocks:pre"] | Annotated[tuple[str, ...], Field(min_length=1)]
)


class SearchedHints(Strict):
    """Where the teacher's places come from, if a search has found them (`python -m distill hints`).

    Attributes:
        sha256: hash of the `hints.json`.
        teacher_sha256: hash of the weights that were searched; a run with another teacher is refused.
        metric: of the search.
        teacher: names what was searched in messages.
    """

    sha256: str
    teacher_sha256: str
    metric: str
    teacher: str


class TapPairs(Strict):
    """What is compared with what: places of the student and of the teacher, in the same order.

    Attributes:
        student, teacher: names of places, `stage-ends` or `blocks`. Two networks with unequally many stages share the
            deepest ones; beside a list of names, `stage-ends` are as many of the deepest as there are names.
        hints: the search that has found the teacher's places; `method.hints=FILE` fills both in.
    """

    student: Places = "stage-ends"
    teacher: Places = "stage-ends"
    hints: Annotated[SearchedHints | None, LATER] = None

    @model_validator(mode="after")
    def _check(self) -> "TapPairs":
        for side in (self.student, self.teacher):
            repeated = sorted({place for place in side if side.count(place) > 1}) if isinstance(side, tuple) else []
            if repeated:
                raise ValueError(f"{', '.join(repeated)} stands in the list more than once; name each place once")
        return self


@dataclass(frozen=True)
class PlacePairs:
    """`TapPairs` for two certain networks: paths of modules, each perhaps with `:input`."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]


class Taps:
    """Keeps what named places of a network gave in its last call, while attached.

    Attributes:
        overwritten: places whose tensor an in-place operation changes later in the same call; they are cloned.
    """

    def __init__(self, network: nn.Module, places: Sequence[str], *, overwritten: Collection[str] = ()) -> None:
        self.network = network
        self.places = tuple(places)
        self.overwritten = frozenset(overwritten)
        self.values: dict[str, Tensor] = {}

    @contextmanager
    def attached(self) -> Generator[None]:
        """Read within the block; outside it the network has no hooks, to be evaluated, copied, saved or exported."""
        with hooks(self.network, self.places, self._keep):
            try:
                yield
            finally:
                self.values = {}

    def take(self) -> dict[str, Tensor]:
        """What the places gave in the last call, in their order; kept no longer."""
        values, self.values = self.values, {}
        return {place: values[place] for place in self.places}

    def _keep(self, place: str, value: Tensor) -> None:
        self.values[place] = value.clone() if place in self.overwritten else value


@contextmanager
def hooks(network: nn.Module, places: Sequence[str], keep: Callable[[str, Tensor], None]) -> Generator[None]:
    """Call `keep` with the place and its tensor whenever the network passes there.

    Raises:
        UsageError: from the network's call, if a place gives something else than a tensor.
    """

    def keep_tensor(place: str, value: object) -> None:
        if not isinstance(value, Tensor):
            raise UsageError(f"{place} of a {type(network).__name__} gives a {type(value).__name__}, no tensor to tap.")
        keep(place, value)

    def before(place: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        return lambda _module, inputs: keep_tensor(place, inputs[0] if inputs else None)

    def after(place: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: keep_tensor(place, output)

    handles = [
        network.get_submodule(place.removesuffix(INPUT)).register_forward_pre_hook(before(place))
        if place.endswith(INPUT)
        else network.get_submodule(place).register_forward_hook(after(place))
        for place in places
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Probe:
    """What one call of a network tells of some places.

    Attributes:
        shapes: of one image's activation, without the batch.
        upstream: names of the trainable parameters that a place depends on.
        overwritten: as `Taps.overwritten`.
        norms: the batch normalisation of as many channels that was passed last before a place, shortcuts left aside.
    """

    shapes: dict[str, torch.Size] = field(default_factory=dict)
    upstream: dict[str, frozenset[str]] = field(default_factory=dict)
    overwritten: frozenset[str] = frozenset()
    norms: dict[str, nn.BatchNorm2d] = field(default_factory=dict)


def probe(model: nn.Module, network: nn.Module, places: Sequence[str], images: Tensor) -> Probe:
    """Call a model once, in eval mode, on images [B, C, H, W]; nothing of it is changed.

    Args:
        model: what is called.
        network: the part of it that the paths of the places belong to.
        places: as resolved.
        images: two or more.

    Raises:
        UsageError: a place that is not passed, or whose tensor does not begin with the batch.
    """
    originals: dict[str, tuple[Tensor, int]] = {}
    copies: dict[str, Tensor] = {}
    norms: dict[str, nn.BatchNorm2d] = {}
    last: dict[int, nn.BatchNorm2d] = {}

    def keep(place: str, value: Tensor) -> None:
        originals[place] = value, value._version
        copies[place] = value.clone()
        if value.ndim == 4 and value.shape[1] in last:
            norms[place] = last[value.shape[1]]

    def passed(norm: nn.Module, _inputs: object, _output: object) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        last[norm.num_features] = norm

    handles = [
        module.register_forward_hook(passed)
        for path, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not {"downsample", "shortcut"} & set(path.split("."))
    ]
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False  # an exported program refuses .eval()
    try:
        with torch.enable_grad(), hooks(network, places, keep):
            model(images)
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in handles:
            handle.remove()
    for place in places:
        _check(network, place, copies, len(images))
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return Probe(
        shapes={place: copies[place].shape[1:] for place in places},
        upstream={place: _upstream(copies[place], trainable) for place in places},
        overwritten=frozenset(place for place, (value, version) in originals.items() if value._version != version),
        norms=norms,
    )


def _check(network: nn.Module, place: str, values: dict[str, Tensor], batch: int) -> None:
    if place not in values:
        raise UsageError(
            f"{place} of a {type(network).__name__} is never called, so it cannot be tapped. An exported program has "
            "nothing to tap; of other networks name a module that the forward pass calls."
        )
    shape = values[place].shape
    if len(shape) < 2 or shape[0] != batch:
        raise UsageError(
            f"{place} of a {type(network).__name__} gives {tuple(shape)} for {batch} images; expected one activation "
            "per image, the batch first."
        )


def _upstream(value: Tensor, trainable: dict[str, nn.Parameter]) -> frozenset[str]:
    if not value.requires_grad:
        return frozenset()
    gradients = torch.autograd.grad(value.sum(), list(trainable.values()), retain_graph=True, allow_unused=True)
    return frozenset(name for name, gradient in zip(trainable, gradients, strict=True) if gradient is not None)
