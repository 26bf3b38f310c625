"""Operations that move values, written so that XNNPACK takes them; every one computes the same bits."""

import operator
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from export.graph.parts import (
    Parts,
    arguments,
    calls,
    constant,
    dimension_of,
    feeds_output,
    is_output,
    replace,
    value_of,
)
from export.graph.picking import picking_matrix, picking_name, shown_places

aten = torch.ops.aten


def split_as_slices(graph: Graph) -> int:
    """`chunk`, `split` or `split_with_sizes` whose parts are taken by index -> one slice per part."""
    changed = 0
    for node in calls(graph, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default):
        users = list(node.users)
        if not all(user.target is operator.getitem for user in users) or feeds_output(users):
            continue
        source, dimension = node.args[0], dimension_of(node, node.args[2] if len(node.args) > 2 else 0)
        sizes = [part.shape[dimension] for part in node.meta["val"]]
        if not isinstance(source, Node) or not all(isinstance(size, int) for size in sizes):
            continue
        for user in users:
            index = user.args[1]
            assert isinstance(index, int), "torch.export writes the parts of a split with constant indices"
            start = sum(sizes[: index % len(sizes)])
            end = start + sizes[index % len(sizes)]
            replace(graph, user, aten.slice.Tensor, (source, dimension, start, end))
        changed += 1
    return changed


def unbind_as_slices(graph: Graph) -> int:
    """`unbind` whose parts are taken by index -> one slice per part, without the dimension that has one."""
    changed = 0
    for node in calls(graph, aten.unbind.int):
        users = list(node.users)
        if not all(user.target is operator.getitem for user in users) or feeds_output(users):
            continue
        source, dimension = node.args[0], dimension_of(node, node.args[1] if len(node.args) > 1 else 0)
        if not isinstance(source, Node):
            continue
        for user in users:
            index = user.args[1]
            assert isinstance(index, int), "torch.export writes the parts of an unbind with constant indices"
            _slice_in_place_of(graph, user, source, dimension, index)
        changed += 1
    return changed


def select_as_slice(graph: Graph) -> int:
    """`select` of one place by number -> a slice, without the dimension that has one."""
    changed = 0
    for node in calls(graph, aten.select.int):
        source, dimension, index = node.args[0], dimension_of(node, node.args[1]), node.args[2]
        if not isinstance(source, Node) or not isinstance(index, int) or is_output(node):
            continue
        _slice_in_place_of(graph, node, source, dimension, index)
        changed += 1
    return changed


def _slice_in_place_of(graph: Graph, node: Node, source: Node, dimension: int, index: int) -> None:
    """A node that is one place of a dimension of its source, as a slice without that dimension."""
    start = index % source.meta["val"].shape[dimension]
    with graph.inserting_before(node):
        part = graph.call_function(aten.slice.Tensor, (source, dimension, start, start + 1))
    part.meta = dict(node.meta, val=source.meta["val"].narrow(dimension, start, 1))
    replace(graph, node, aten.reshape.default, (part, list(node.meta["val"].shape)))


def drop_whole_selections(graph: Graph) -> int:
    """`alias`, and a slice or an expansion that selects everything -> their input."""
    changed = 0
    for node in calls(graph, aten.alias.default, aten.slice.Tensor, aten.expand.default, aten.expand_as.default):
        source = node.args[0]
        if not isinstance(source, Node) or is_output(node) or node.meta["val"].shape != source.meta["val"].shape:
            continue
        if node.target is aten.slice.Tensor and len(node.args) > 4 and node.args[4] != 1:
            continue
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        changed += 1
    return changed


_BROADCASTING = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def expansions_left_out(graph: Graph) -> int:
    """Expansion of what its users would expand by themselves -> its input."""
    changed = 0
    for node in calls(graph, aten.expand.default, aten.expand_as.default):
        source = node.args[0]
        if not isinstance(source, Node) or not all(_expands_itself(user, node) for user in node.users):
            continue
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        changed += 1
    return changed


def _expands_itself(user: Node, node: Node) -> bool:
    others = [each for each in user.args[:2] if each is not node]
    if user.target not in _BROADCASTING or len(others) != 1 or not isinstance(others[0], Node):
        return False
    return value_of(others[0]).shape == value_of(user).shape


def strided_slices_in_parts(graph: Graph) -> int:
    """Every n-th place of a dimension -> groups of n of which the first is taken, and the place that is left over."""
    changed = 0
    for node in calls(graph, aten.slice.Tensor):
        source, dimension, start, end, step = arguments(node, (None, 0, None, None, 1))
        if not isinstance(source, Node) or step == 1 or is_output(node):
            continue
        shape, dimension = value_of(source).shape, dimension_of(node, dimension)
        places = range(*slice(start, end, step).indices(shape[dimension]))
        whole = sum(place + step <= shape[dimension] for place in places)
        if not whole:
            continue
        before, after = shape[:dimension], shape[dimension + 1 :]
        parts = Parts(graph, node, marked=False)
        groups = parts.add(aten.slice.Tensor, source, dimension, places[0], places[0] + whole * step)
        groups = parts.add(aten.reshape.default, groups, [*before, whole, step, *after])
        taken = parts.add(aten.slice.Tensor, groups, dimension + 1, 0, 1)
        taken = parts.add(aten.reshape.default, taken, [*before, whole, *after])
        if whole < len(places):
            left = parts.add(aten.slice.Tensor, source, dimension, places[-1], places[-1] + 1)
            taken = parts.add(aten.cat.default, [taken, left], dimension)
        parts.replace_by(taken)
        changed += 1
    return changed


def dimensions_of_one_by_reshape(graph: Graph) -> int:
    """`unsqueeze` and `squeeze` -> `reshape`."""
    changed = 0
    for node in calls(graph, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default):
        source = node.args[0]
        if isinstance(source, Node) and not is_output(node):
            replace(graph, node, aten.reshape.default, (source, list(value_of(node).shape)))
            changed += 1
    return changed


def nearest_in_parts(program: ExportedProgram) -> int:
    """Enlarging by the nearest neighbour -> a product with ones that has more places, or with ones and zeros.

    The latter where a side does not grow by a whole number. Which neighbour is nearest is asked of the operation.
    """
    changed = 0
    for node in calls(program.graph, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default):
        source = node.args[0]
        if not isinstance(source, Node) or is_output(node) or value_of(node).dtype is not torch.float32:
            continue
        batch, channels, height, width = value_of(source).shape
        enlarge = cast("Callable[..., Tensor]", node.target)
        columns, rows = shown_places(enlarge, (height, width), *node.args[1:], **node.kwargs)
        parts = Parts(program.graph, node)
        wide, tall = _whole_factor(columns, width), _whole_factor(rows, height)
        if wide and tall:
            ones = constant(program, f"ones_{tall}_{wide}", torch.ones(tall, 1, wide))
            spaced = parts.add(aten.reshape.default, source, [batch * channels, height, 1, width, 1])
            result = parts.add(aten.mul.Tensor, spaced, ones)
        else:
            result = parts.add(aten.linear.default, source, _picks(program, columns, width))
            turned = parts.add(aten.permute.default, result, [0, 1, 3, 2])
            picked = parts.add(aten.linear.default, turned, _picks(program, rows, height))
            result = parts.add(aten.permute.default, picked, [0, 1, 3, 2])
        parts.replace_by(parts.add(aten.reshape.default, result, [batch, channels, len(rows), len(columns)]))
        changed += 1
    return changed


def _whole_factor(places: Tensor, size: int) -> int | None:
    """How often each place comes, one after the other; None if not equally often."""
    factor = len(places) // size
    return factor if torch.equal(places, torch.arange(size).repeat_interleave(factor)) else None


def _picks(program: ExportedProgram, places: Tensor, size: int) -> Node:
    """A matrix [places, size] of zeros, with a one in each row."""
    return constant(program, picking_name(places, size), picking_matrix(places, size))
