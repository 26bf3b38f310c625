"""Stage ends: the last map of a network at each of its resolutions, from a quarter of the input's size on.

So counted, the usual networks have their ends at 1/4, 1/8, 1/16 and 1/32 (ShuffleNetV2 begins at 1/8), whatever else
they call a stage; the stem, the pooling layers and a last 1x1 convolution that only prepares the classifier are none.
"""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.models.tap_points import HasTapPoints

PROBE_PX = 64
SMALLEST_REDUCTION = 4

POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@runtime_checkable
class HasStages(Protocol):
    """A network that says itself where its stages end: paths of modules, the deepest last."""

    stage_end_paths: tuple[str, ...]


def stage_ends(network: nn.Module) -> tuple[str, ...]:
    """Paths of the modules whose outputs are the network's stage ends, the deepest last.

    A network may name them itself (`tap_points`, or `stage_end_paths` alone), timm's do (`feature_info`); of
    torchvision's and any other they are measured: of the network's parts, those of a sequence singly, the last at each
    resolution.

    Raises:
        UsageError: the network has none (a vision transformer keeps one resolution), or not as maps [B, C, H, W].
    """
    if isinstance(network, HasTapPoints):
        return tuple(point.post for point in network.tap_points.stage_ends)
    if isinstance(network, HasStages):
        return network.stage_end_paths
    ends = _of_timm(network) or measured(network)
    if len(ends) < 2:
        parts = ", ".join(path for path, _ in network.named_children())
        raise UsageError(
            f"a {type(network).__name__} has no stage ends: maps [B, C, H, W] that shrink from stage to stage were "
            f"looked for. Name the places to tap instead, by their modules' paths; at its top level are {parts}."
        )
    return ends


def _of_timm(network: nn.Module) -> tuple[str, ...]:
    entries: Iterable[dict[str, Any]] = getattr(network, "feature_info", ())
    modules = dict(network.named_modules())
    is_map = str(getattr(network, "output_fmt", "NCHW")).endswith("NCHW")
    if not is_map or not all(entry["module"] in modules for entry in entries):
        return ()
    blocks = [entry for entry in entries if not isinstance(modules[entry["module"]], POOLING)]
    return _last_of_each((entry["module"], entry["reduction"]) for entry in blocks)


def measured(network: nn.Module) -> tuple[str, ...]:
    """Of a network's parts the last at each resolution, by a call in eval mode; none if it cannot be called so."""
    sizes: list[tuple[str, Tensor]] = []

    def note(path: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3]:
            sizes.append((path, output))

    handles = [
        part.register_forward_hook(lambda _part, _inputs, output, path=path: note(path, output))
        for path, part in _parts(network)
    ]
    modes = [(module, module.training) for module in network.modules()]
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            network(torch.zeros(1, 3, PROBE_PX, PROBE_PX, device=device))
    except (RuntimeError, AssertionError, ValueError):
        return ()  # made for one size of image only, or for another number of channels
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in handles:
            handle.remove()
    return _last_of_each((path, PROBE_PX // output.shape[2]) for path, output in sizes)


def _parts(network: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The network's children, of a sequence called features its members; without pooling and mixing of channels."""
    for name, child in network.named_children():
        inner = [(f"{name}.{number}", part) for number, part in child.named_children()]
        whole = type(child) is nn.Sequential and name.startswith(("features", "layers", "trunk"))
        for path, part in inner if whole else [(name, child)]:
            if not isinstance(part, POOLING) and not _mixes_channels_only(part):
                yield path, part


def _mixes_channels_only(part: nn.Module) -> bool:
    kernels = [module.kernel_size for module in part.modules() if isinstance(module, nn.Conv2d)]
    return bool(kernels) and all(kernel == (1, 1) for kernel in kernels)


def _last_of_each(reductions: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    last = {reduction: path for path, reduction in reductions if reduction >= SMALLEST_REDUCTION}
    return tuple(last[reduction] for reduction in sorted(last))
