"""One operation of an exported graph as several that compute the same."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node, map_arg

PART_OF_ONE = "part_of_one_operation"
"""Marks operations that are one in the network: a quantizer should not take them for ones of the network's own."""


class Parts:
    """Adds operations before the one that they are parts of; what each gives stands in its metadata as `val`.

    Args:
        graph: of the operation.
        whole: the operation.
        marked: whether a quantizer is to leave the parts alone; not where they only move values.
    """

    def __init__(self, graph: Graph, whole: Node, *, marked: bool = True) -> None:
        self.graph, self.whole = graph, whole
        self.meta = {**whole.meta, PART_OF_ONE: True} if marked else whole.meta

    def add(self, target: Callable[..., Any], *arguments: Any) -> Node:
        """One operation on nodes, lists of nodes, and numbers."""
        with self.graph.inserting_before(self.whole):
            made = self.graph.call_function(target, arguments)
        made.meta = {**self.meta, "val": target(*map_arg(arguments, value_of))}
        return made

    def replace_by(self, result: Node) -> None:
        """Put the last part in place of the whole."""
        self.whole.replace_all_uses_with(result)
        self.graph.erase_node(self.whole)


def constant(program: ExportedProgram, name: str, value: Tensor) -> Node:
    """A constant of a program by a name of ours; the same one where there is one of that name."""
    from executorch.backends.transforms.utils import create_constant_placeholder

    graph = program.graph
    with graph.inserting_before(next(iter(graph.nodes))):
        return create_constant_placeholder(program, graph, name, InputKind.BUFFER, value, persistent_buffer=True)


def held_tensor(program: ExportedProgram, node: Node) -> Tensor | None:
    """The tensor of a placeholder that is a parameter, a buffer or a constant."""
    if node.op != "placeholder":
        return None
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names |= signature.inputs_to_lifted_tensor_constants
    name = names.get(node.name)
    held = None if name is None else program.state_dict.get(name, program.constants.get(name))
    return held if isinstance(held, Tensor) else None


def calls(graph: Graph, *targets: object) -> list[Node]:
    """The calls of some operations, in order."""
    return [node for node in graph.nodes if node.op == "call_function" and node.target in targets]


def arguments(node: Node, defaults: Sequence[object]) -> tuple[Any, ...]:
    """As many arguments as there are defaults, with what is left out."""
    return (*node.args[: len(defaults)], *defaults[len(node.args) :])


def value_of(node: Node) -> Tensor:
    """Shape and type of what a node gives, as `torch.export` noted it."""
    return node.meta["val"]


def dimension_of(node: Node, dimension: object) -> int:
    """A dimension of what a node is given, counted from the front."""
    source = node.args[0]
    assert isinstance(source, Node)
    assert isinstance(dimension, int)
    return dimension % value_of(source).dim()


def is_output(node: Node) -> bool:
    """The program's signature names its outputs by node, so such a node has to stay."""
    return any(user.op == "output" for user in node.users)


def feeds_output(nodes: Sequence[Node]) -> bool:
    """Whether any of the nodes is an output."""
    return any(is_output(node) for node in nodes)


def replace(graph: Graph, old: Node, target: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Put one operation that gives the same in place of another."""
    with graph.inserting_before(old):
        new = graph.call_function(target, arguments)  # pyright: ignore[reportArgumentType]
        new.meta = dict(old.meta)
    old.replace_all_uses_with(new)
    graph.erase_node(old)
