"""One call of a network, module by module: what can be tapped, what lies before an activation and what after it.

A value is told by its tensor, and an activation that works in place by the tensor's version, so it does not matter
whether an activation is a block's last module, is shared by several places of a block, or belongs to what encloses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.models.stage_ends import PROBE_PX, stage_ends
from distill.vision.models.tap_points import HasTapPoints, Point, TapPoints

GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.MultiheadAttention)
"""What the modules of activations hold beside them."""

ACTIVATION_MODULES = ("torch.nn.modules.activation", "timm.layers.activations")


@dataclass(frozen=True)
class Event:
    """A tensor goes into a module or comes out of it.

    Attributes:
        path: of the module.
        enters: into it.
        key: of the tensor's value.
        shape: with the batch.
    """

    path: str
    enters: bool
    key: tuple[int, int]
    shape: torch.Size


@dataclass(frozen=True)
class Place:
    """What a module gives, or what goes into it, in its last call.

    Attributes:
        path: of the module, with `:input` for what goes into it.
        shape: of one image's activation.
        activation: whether it lies before (`pre`) or after (`post`) an activation; None for neither.
        names: of the tap point that it is, such as `block:3` and `stage-end:1`.
    """

    path: str
    shape: torch.Size
    activation: Literal["pre", "post"] | None
    names: tuple[str, ...] = ()


@dataclass
class Walk:
    """What was passed in a call, in its order."""

    network: nn.Module
    events: list[Event] = field(default_factory=list)

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """By path."""
        return dict(self.network.named_modules())

    @cached_property
    def _last(self) -> dict[tuple[str, bool], int]:
        """(path, enters) -> position of the last such event."""
        return {(event.path, event.enters): position for position, event in enumerate(self.events)}

    @cached_property
    def _activations(self) -> dict[tuple[tuple[int, int], bool], list[int]]:
        """(value, enters) -> positions at which an activation takes it or gives it."""
        positions: dict[tuple[tuple[int, int], bool], list[int]] = {}
        for position, event in enumerate(self.events):
            if _activates(self.modules[event.path]):
                positions.setdefault((event.key, event.enters), []).append(position)
        return positions

    def places(self) -> list[Place]:
        """What every module gives, and what goes into one where a tap point lies there."""
        names = point_names(self.tap_points())
        places = []
        for position in sorted(self._last.values()):
            event = self.events[position]
            path = f"{event.path}:input" if event.enters else event.path
            if event.enters and path not in names:
                continue
            activation = "pre" if self._goes_into(position) else None if self._made_by(position) is None else "post"
            places.append(Place(path, event.shape[1:], activation, tuple(names.get(path, ()))))
        return places

    def before_activation(self, place: str) -> str:
        """The place before the activation whose result lies at this one; this one, if none does."""
        position = self._last.get((place.removesuffix(":input"), place.endswith(":input")))
        if position is None:
            return place
        maker = self._made_by(position)
        if maker is None:
            return place
        entry = max(at for at in range(maker) if self.events[at].enters and self.events[at].path == self._path(maker))
        return f"{self._path(maker)}:input" if self._last[self._path(maker), True] == entry else place

    def tap_points(self) -> TapPoints:
        """The network's own, or as they are seen: blocks are what stands in a row inside a stage, or beside others."""
        if isinstance(self.network, HasTapPoints):
            return self.network.tap_points
        paths = [path for path in _blocks(self.network) if (path, False) in self._last]
        try:
            ends = stage_ends(self.network)
        except UsageError:
            ends = ()
        blocks = tuple(self._point(path) for path in paths or ends)
        stem = f"{paths[0]}:input" if paths and (paths[0], True) in self._last else None
        stages = tuple(self._point(path) for path in ends)
        return TapPoints(None if stem is None else self._point(stem), blocks, stages, self._pooled(paths or ends))

    def _point(self, place: str) -> Point:
        return Point(place, self.before_activation(place))

    def _pooled(self, paths: "list[str] | tuple[str, ...]") -> str | None:
        start = max((self._last.get((path, False), 0) for path in paths), default=0)
        for event in self.events[start:]:
            if event.enters and len(event.shape) == 2 and isinstance(self.modules[event.path], nn.Linear):
                return f"{event.path}:input"
        return None

    def _path(self, position: int) -> str:
        return self.events[position].path

    def _made_by(self, position: int) -> int | None:
        """Where an activation gave this very value, at or before this position."""
        makers = self._activations.get((self.events[position].key, False), [])
        return max((maker for maker in makers if maker <= position), default=None)

    def _goes_into(self, position: int) -> bool:
        """Whether an activation takes this very value."""
        return any(taker >= position for taker in self._activations.get((self.events[position].key, True), []))


def walk(network: nn.Module, *, size_px: int = PROBE_PX) -> Walk:
    """Call a network once, in eval mode, on two black pictures [2, 3, size_px, size_px]; nothing of it is changed.

    Raises:
        UsageError: it cannot take such pictures.
    """
    record = Walk(network)
    alive: list[Tensor] = []  # a tensor that is gone could leave its identity to another

    def note(path: str, value: object, *, enters: bool) -> None:
        if isinstance(value, Tensor) and value.ndim >= 2 and len(value) == 2:
            alive.append(value)
            record.events.append(Event(path, enters, (id(value), value._version), value.shape))

    handles = []
    for path, module in network.named_modules():
        if path and not isinstance(module, torch.jit.ScriptModule):
            handles += [
                module.register_forward_pre_hook(
                    lambda _module, inputs, path=path: note(path, inputs[0] if inputs else None, enters=True)
                ),
                module.register_forward_hook(
                    lambda _module, _inputs, output, path=path: note(path, output, enters=False)
                ),
            ]
    modes = [(module, module.training) for module in network.modules()]
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        for module, _ in modes:
            module.training = False  # an exported program refuses .eval()
        with torch.no_grad():
            network(torch.zeros(2, 3, size_px, size_px, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"a {type(network).__name__} fails on images of {size_px}x{size_px}: {words}") from error
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in handles:
            handle.remove()
    return record


def point_names(points: TapPoints) -> dict[str, list[str]]:
    """Place -> the names of the points that lie there, those before an activation with `:pre`."""
    named: list[tuple[str, Point]] = [] if points.stem is None else [("stem", points.stem)]
    named += [(f"block:{number}", point) for number, point in enumerate(points.blocks, start=1)]
    named += [(f"stage-end:{number}", point) for number, point in enumerate(points.stage_ends, start=1)]
    names: dict[str, list[str]] = {}
    for name, point in named:
        names.setdefault(point.post, []).append(name)
        if point.pre != point.post:
            names.setdefault(point.pre, []).append(f"{name}:pre")
    if points.pooled is not None:
        names.setdefault(points.pooled, []).append("pooled")
    return names


def _blocks(network: nn.Module, path: str = "") -> Iterator[str]:
    """Modules made of several with weights, the outermost that are no mere rows of others."""
    for name, child in network.named_children():
        inner = f"{path}{name}"
        row = next((row for row in ("blocks", "layers") if isinstance(getattr(child, row, None), nn.Sequential)), None)
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child, f"{inner}.")
        elif row is not None:
            yield from _blocks(getattr(child, row), f"{inner}.{row}.")
        elif path and sum(bool(part._parameters) for part in child.modules()) > 1:
            yield inner


def _activates(module: nn.Module) -> bool:
    return type(module).__module__.startswith(ACTIVATION_MODULES) and not isinstance(module, GATES)
