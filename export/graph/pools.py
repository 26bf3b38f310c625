"""Max pools for LiteRT."""

import torch
from torch.fx import Node

from export.graph.layers import module_of
from export.graph.parts import calls

aten = torch.ops.aten


def padded_pools(model: torch.nn.Module, example: torch.Tensor) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Max pools that pad with minus infinity, after a ReLU -> zeros around the image, then a pool that does not pad.

    The maximum is the same, since nothing is below zero and every window holds at least one value. LiteRT's converter
    would write a padding with minus infinity, which XNNPACK does not take. Modules are replaced in place, so that names
    in the converted model stay those of the network.

    Returns:
        The model and what was done.
    """
    program = torch.export.export(model, (example,))
    modules = dict(model.named_modules(remove_duplicate=False))
    uses: dict[torch.nn.MaxPool2d, list[Node]] = {}
    for node in calls(program.graph, aten.max_pool2d.default):
        pool = modules.get(module_of(node))
        if isinstance(pool, torch.nn.MaxPool2d):
            uses.setdefault(pool, []).append(node)
    changed = 0
    for pool, nodes in uses.items():
        # A pool may be used in several places, and then all of them must agree.
        if pool.ceil_mode or not any(_pair(pool.padding)) or not all(_reads_relu(node) for node in nodes):
            continue
        vertical, horizontal = _pair(pool.padding)
        padded = torch.nn.Sequential(
            torch.nn.ConstantPad2d((horizontal, horizontal, vertical, vertical), 0.0),
            torch.nn.MaxPool2d(pool.kernel_size, pool.stride, 0, pool.dilation),
        )
        for name in [name for name, module in modules.items() if module is pool]:
            model.set_submodule(name, padded)
        changed += len(nodes)
    return model, ((f"{changed} × max pool after explicit zeros",) if changed else ())


def _reads_relu(node: Node) -> bool:
    source = node.args[0]
    return isinstance(source, Node) and source.target in (aten.relu.default, aten.relu_.default)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
