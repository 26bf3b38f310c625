"""The weighted layers of a network as its exported graph shows them: what feeds each, and what is fused into it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

aten = torch.ops.aten
TRACED_BATCH = 50
"""Images per call of a traced network, or fewer where there are fewer."""

_CONVOLUTIONS = (aten.conv2d.default, aten.conv2d.padding)
_WEIGHTED = (*_CONVOLUTIONS, aten.linear.default)
_NORMS = (aten.batch_norm.default,)
RELUS = (aten.relu.default, aten.relu_.default)
_ACTIVATIONS = (
    *RELUS,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.relu6.default,
    aten.hardswish.default,
    aten.hardswish_.default,
    aten.hardsigmoid.default,
    aten.silu.default,
    aten.silu_.default,
    aten.sigmoid.default,
    aten.gelu.default,
)


def module_of(node: Node) -> str:
    """Dotted name of the innermost module that an exported node comes from; empty for the exported module itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return path.removeprefix("L['self'].").removeprefix("L__self__.")


@dataclass(frozen=True)
class GraphLayer:
    """One convolution or matrix product with weights, and the operations that runtimes fuse into it.

    Attributes:
        name: dotted name of its module in the `ImageClassifier`.
        node: the operation itself.
        batch_norm: name of the batch normalisation behind it; None without.
        activation: the node of the nonlinearity behind that; None without.
        result: the last of these nodes; its value is what a quantized runtime keeps in integers.
    """

    name: str
    node: Node
    batch_norm: str | None
    activation: Node | None
    result: Node

    @property
    def source(self) -> Node:
        """The node whose value the layer reads."""
        source = self.node.args[0]
        assert isinstance(source, Node)
        return source


@dataclass(frozen=True)
class Traced:
    """A network as a graph for a fixed number of images per call."""

    graph: GraphModule
    layers: tuple[GraphLayer, ...]
    batch: int

    def batches(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """Images [N, C, H, W] in calls of the traced size; a rest that does not fill one is left out."""
        for part in images.split(self.batch):
            if len(part) == self.batch:
                yield part


def trace(model: nn.Module, images: torch.Tensor) -> Traced:
    """The graph of a model in eval mode for batches of `images` [N, C, H, W]; their values do not matter."""
    batch = min(TRACED_BATCH, len(images))
    with torch.no_grad():
        graph = torch.export.export(model, (images[:batch],)).module()
    assert isinstance(graph, GraphModule)
    layers = tuple(_layer(node) for node in graph.graph.nodes if _is_weighted(node))
    return Traced(graph, layers, batch)


def is_convolution(node: Node) -> bool:
    """Whether a layer's node is a two-dimensional convolution."""
    return node.target in _CONVOLUTIONS


def float_units(model: nn.Module) -> dict[str, str]:
    """For each weighted layer the name to leave in float: the largest block around it that holds no other one.

    A convolution with its normalisation and activation goes as a whole where the network has a block of them.
    """
    weighted = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    units: dict[str, str] = {}
    for name in weighted:
        unit = name
        parent = name.rpartition(".")[0]
        while "." in parent and sum(is_inside(other, (parent,)) for other in weighted) == 1:
            unit, parent = parent, parent.rpartition(".")[0]
        units[name] = unit
    return units


def _is_weighted(node: Node) -> bool:
    weight: Any = node.args[1] if len(node.args) > 1 else None
    return node.target in _WEIGHTED and isinstance(weight, Node) and weight.op == "get_attr"


def _layer(node: Node) -> GraphLayer:
    last, batch_norm, activation = node, None, None
    follower = _only_user(last)
    if follower is not None and follower.target in _NORMS:
        last, batch_norm = follower, module_of(follower)
        follower = _only_user(last)
    if follower is not None and follower.target in _ACTIVATIONS:
        last = activation = follower
    return GraphLayer(module_of(node), node, batch_norm, activation, last)


def _only_user(node: Node) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def is_inside(module: str, layers: Iterable[str]) -> bool:
    """Whether a dotted module name is one of `layers` or lies inside one."""
    return any(module == layer or module.startswith(layer + ".") for layer in layers)
