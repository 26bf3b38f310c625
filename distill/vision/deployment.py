"""The form in which a trained network is deployed: what only training needs is folded, constants are computed once.

Networks with branches that a convolution can take up (MobileOne, RepVGG, RepViT, FastViT, GhostNetV3) bring methods
that fold them: `fuse`, `reparameterize` or `switch_to_deploy`, the names that timm looks for. Weights that are computed
from weights (weight standardisation, weight normalisation) are the same in every call.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distill.vision.models import ImageClassifier
from distill.vision.models.folding import folded

TOLERANCE = 1e-4
"""Of folded logits, as a share of the largest one, and absolute below 1."""


@dataclass(frozen=True)
class Deployment:
    """A network in the form it is deployed in.

    Attributes:
        model: the very model that was given if there was nothing to do.
        folded: whether branches were folded; logits are equal up to float32 rounding.
        num_fixed: layers whose weights were computed in every call; logits are the same bits.
        failure: why branches that could be folded were not, in words.
    """

    model: ImageClassifier
    folded: bool = False
    num_fixed: int = 0
    failure: str | None = None


def deployed(model: ImageClassifier, input_shape: tuple[int, int, int]) -> Deployment:
    """A model in eval mode as it is deployed; it is not changed itself.

    Args:
        model: on the CPU.
        input_shape: (C, H, W) of one picture in [0, 1].
    """
    images = _probe(input_shape)
    found = _fold(model, images)
    fixed, count = _fix_weights(found.model, images)
    return Deployment(fixed, found.folded, count, found.failure)


def without_branches(model: ImageClassifier, input_shape: tuple[int, int, int]) -> Deployment:
    """A model in eval mode with its branches folded, if it has any and its logits stay; arguments as of `deployed`."""
    return _fold(model, _probe(input_shape))


def _probe(input_shape: tuple[int, int, int]) -> Tensor:
    """One picture [1, C, H, W] in [0, 1] that is coarse noise."""
    coarse = torch.rand(1, input_shape[0], 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, input_shape[1:], mode="bilinear")


def _fold(model: ImageClassifier, images: Tensor) -> Deployment:
    try:
        plain = folded(model)
        if plain is model:
            return Deployment(model)
        with torch.no_grad():
            expected, found = model(images), plain(images)
    except Exception as error:  # a network from elsewhere may raise anything
        return Deployment(model, failure=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    if not difference <= allowed:
        return Deployment(model, failure=f"folded, its logits are off by {difference:.2g}; {allowed:.2g} is allowed")
    if sum(1 for _ in plain.modules()) == sum(1 for _ in model.modules()):
        return Deployment(model)
    return Deployment(plain, folded=True)


@dataclass
class _Call:
    """One convolution or matrix product inside a module: what it was given."""

    module: nn.Module
    function: Callable[..., Tensor]
    source: Tensor
    weight: Tensor
    bias: Tensor | None
    settings: dict[str, Any]


class _Record(TorchFunctionMode):
    """Notes convolutions and matrix products, and the innermost module that asked for each."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[nn.Module] = []
        self.calls: list[_Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        parameters = _PARAMETERS.get(func)
        if parameters is not None and self.stack:
            given = {**dict(zip(parameters, args, strict=False)), **(kwargs or {})}
            source, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
            self.calls.append(_Call(self.stack[-1], func, source, weight, bias, given))
        return func(*args, **(kwargs or {}))


_PARAMETERS: dict[Any, tuple[str, ...]] = {
    torch.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.linear: ("input", "weight", "bias"),
}


@contextmanager
def _noted_modules(model: nn.Module, stack: list[nn.Module]) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """While open, `stack` holds the modules that compute; yields input and output of those that have one of each."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def leave(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        stack.pop()
        if len(arguments) == 1 and isinstance(arguments[0], Tensor) and isinstance(output, Tensor):
            seen[module] = (arguments[0], output)

    handles = [module.register_forward_pre_hook(lambda module, _: stack.append(module)) for module in model.modules()]
    handles += [module.register_forward_hook(leave) for module in model.modules()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _fix_weights(model: ImageClassifier, images: Tensor) -> tuple[ImageClassifier, int]:
    """Layers whose weights are computed from weights alone -> plain layers; only where every bit stays."""
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    with torch.no_grad():
        computed = {module: seen for module, seen in _observed(model, images).items() if id(seen[0].weight) not in own}
        others = _observed(model, 1 - images.flip(2)) if computed else {}
        replacements = {
            module: layer
            for module, (call, source, output) in computed.items()
            if module in others
            and torch.equal(call.weight, others[module][0].weight)
            and (layer := _plain(call, source, output)) is not None
        }
        if not replacements:
            return model, 0
        names = [name for name, module in model.named_modules() if module in replacements]
        layers = [replacements[model.get_submodule(name)] for name in names]
        fixed = copy.deepcopy(model)
        for name, layer in zip(names, layers, strict=True):
            fixed.set_submodule(name, layer)
        if not torch.equal(fixed(images), model(images)):
            return model, 0
    return fixed.eval(), len(names)


def _observed(model: nn.Module, images: Tensor) -> dict[nn.Module, tuple[_Call, Tensor, Tensor]]:
    """Modules that hold exactly one convolution or matrix product, with its call, and their input and output."""
    record = _Record()
    with _noted_modules(model, record.stack) as seen, record:
        model(images)
    by_module: dict[nn.Module, list[_Call]] = {}
    for call in record.calls:
        by_module.setdefault(call.module, []).append(call)
    return {
        module: (calls[0], *seen[module])
        for module, calls in by_module.items()
        if module in seen and (len(calls) == 1 or all(torch.equal(each.weight, calls[0].weight) for each in calls))
    }


def _plain(call: _Call, source: Tensor, output: Tensor) -> nn.Module | None:
    """A layer with fixed weights that gives the same bits for the same input; None if there is none."""
    weight, bias = call.weight.detach().clone(), call.bias is not None
    layer: nn.Module
    if call.function is torch.conv2d:
        settings = {name: value for name, value in call.settings.items() if name != "groups"}
        groups = call.settings.get("groups", 1)
        layer = nn.Conv2d(
            weight.shape[1] * groups,
            len(weight),
            (weight.shape[2], weight.shape[3]),
            groups=groups,
            bias=bias,
            **settings,
        )
    else:
        layer = nn.Linear(weight.shape[1], len(weight), bias=bias)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if call.bias is not None:
        layer.bias = nn.Parameter(call.bias.detach().clone(), requires_grad=False)
    layer = _padded(layer, call.source, source)
    try:
        same = torch.equal(layer(source), output)
    except RuntimeError:
        return None
    return layer.eval() if same else None


def _padded(layer: nn.Module, taken: Tensor, given: Tensor) -> nn.Module:
    """The layer behind the padding that its module puts around what it is given, zeros at the lower right if uneven."""
    if taken.shape == given.shape or taken.dim() != 4:
        return layer
    height, width = (taken.shape[axis] - given.shape[axis] for axis in (2, 3))
    around = (width // 2, width - width // 2, height // 2, height - height // 2)
    return nn.Sequential(nn.ZeroPad2d(around), layer)
