"""Arithmetic of single values, written so that XNNPACK takes it."""

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, Node, map_arg

from export.graph.parts import Parts, calls, constant, held_tensor, is_output, value_of

aten = torch.ops.aten
_FLOATS = (torch.float32, torch.float16)


def hard_sigmoid_in_parts(graph: Graph) -> int:
    """Hard sigmoid -> clamp(x + 3, 0, 6) / 6 with float constants.

    ExecuTorch would decompose it by itself, with integer constants that are cast to float outside of the delegate at
    every inference. The parts are marked as such.
    """
    changed = 0
    for node in calls(graph, aten.hardsigmoid.default):
        source = node.args[0]
        if not isinstance(source, Node) or is_output(node) or node.meta["val"].dtype not in _FLOATS:
            continue
        parts = Parts(graph, node)
        clamped = parts.add(aten.hardtanh.default, parts.add(aten.add.Tensor, source, 3.0), 0.0, 6.0)
        parts.replace_by(parts.add(aten.div.Tensor, clamped, 6.0))
        changed += 1
    return changed


def whole_numbers_as_floats(graph: Graph) -> int:
    """Sum, difference, product or quotient with a whole number -> with the same number as a float.

    ExecuTorch would cast the whole number outside of the delegate at every inference.
    """
    changed = 0
    for node in calls(graph, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor):
        number = node.args[1]
        if isinstance(number, int) and value_of(node).dtype in _FLOATS and number == float(number):
            node.update_arg(1, float(number))
            changed += 1
    return changed


def products_added_in_parts(graph: Graph) -> int:
    """`addcmul` -> a product and a sum."""
    changed = 0
    for node in calls(graph, aten.addcmul.default):
        if is_output(node) or value_of(node).dtype not in _FLOATS:
            continue
        added, left, right = node.args
        parts, factor = Parts(graph, node, marked=False), node.kwargs.get("value", 1)
        assert isinstance(factor, int | float), "torch.export writes factors as numbers"
        product = parts.add(aten.mul.Tensor, left, right)
        if factor != 1:
            product = parts.add(aten.mul.Tensor, product, float(factor))
        parts.replace_by(parts.add(aten.add.Tensor, added, product))
        changed += 1
    return changed


_MOVES = (
    aten.view.default,
    aten.reshape.default,
    aten.expand.default,
    aten.permute.default,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.slice.Tensor,
)


def computed_once(program: ExportedProgram) -> int:
    """What is computed of constants alone -> a constant; what only moves constants or draws numbers is left.

    A graph that changes a constant in place is left as it is.
    """
    graph, changed = program.graph, 0
    known = {node: value for node in graph.nodes if (value := held_tensor(program, node)) is not None}
    computed: set[Node] = set()
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, OpOverload):
            continue
        if node.target._schema.is_mutable and any(each in known for each in node.all_input_nodes):
            return 0
        draws = torch.Tag.nondeterministic_seeded in node.target.tags
        if draws or not all(each in known for each in node.all_input_nodes):
            continue
        value = node.target(*map_arg(node.args, known.__getitem__), **map_arg(node.kwargs, known.__getitem__))
        if value is None:
            graph.erase_node(node)  # an assertion, which holds
        elif isinstance(value, Tensor):
            known[node] = value.detach()
            if node.target not in _MOVES or any(each in computed for each in node.all_input_nodes):
                computed.add(node)
    for node in [each for each in computed if any(user not in known for user in each.users) and not is_output(each)]:
        if known[node].is_floating_point():
            node.replace_all_uses_with(constant(program, f"computed_{node.name}", known[node].contiguous()))
            changed += 1
    graph.eliminate_dead_code()
    return changed
