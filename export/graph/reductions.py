"""Norms and reductions that XNNPACK does not take, as products with a constant and other operations that it takes.

A mean over the last dimension is the product with a column of 1 / n. What is left in one piece of the backend costs
neither a copy nor a wake-up of its threads.
"""

from collections.abc import Sequence

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from export.graph.parts import Parts, arguments, calls, constant, held_tensor, is_output, replace, value_of

aten = torch.ops.aten
_TAKES_UP = (aten.conv2d.default, aten.conv2d.padding, aten.conv1d.default, aten.linear.default)
"""Operations whose weights a batch norm behind them becomes part of."""


def mean_keeping_dimensions(graph: Graph) -> int:
    """Mean of [B, C, H, W] over height and width to [B, C] -> mean to [B, C, 1, 1], then flattened."""
    changed = 0
    for node in calls(graph, aten.mean.dim):
        source, dimensions = node.args[0], node.args[1]
        keeps = len(node.args) > 2 and bool(node.args[2])
        if not isinstance(source, Node) or not isinstance(dimensions, (list, tuple)) or keeps or node.kwargs:
            continue
        rank = source.meta["val"].dim()
        if rank != 4 or {int(d) % rank for d in dimensions if isinstance(d, int)} != {2, 3} or is_output(node):
            continue
        with graph.inserting_before(node):
            kept = graph.call_function(aten.mean.dim, (source, [2, 3], True))
            kept.meta = dict(node.meta, val=node.meta["val"].unsqueeze(-1).unsqueeze(-1))
        replace(graph, node, aten.flatten.using_ints, (kept, 1))
        changed += 1
    return changed


def batch_norm_as_product(program: ExportedProgram) -> int:
    """Batch norm that no convolution or matrix product takes up -> a product and a sum with constants.

    Besides, where one is left, PT2E takes a graph for one of quantization-aware training and looks for a hundred
    patterns of it: a minute for nothing.
    """
    changed = 0
    for node in _floats(program, aten.batch_norm.default):
        source, weight, bias, mean, variance, training, _, eps, _ = arguments(
            node, (None, None, None, None, None, False, 0.1, 1e-5, True)
        )
        if training or mean is None or (source.target in _TAKES_UP and len(source.users) == 1):
            continue
        channels = value_of(source).shape[1]
        held = [
            torch.full((channels,), float(plain)) if each is None else held_tensor(program, each)
            for each, plain in ((weight, 1), (bias, 0), (mean, 0), (variance, 1))
        ]
        factor, added, middle, spread = held
        if factor is None or added is None or middle is None or spread is None:
            continue
        scale = (spread + eps).rsqrt() * factor
        shift = added - middle * scale
        parts, shape = Parts(program.graph, node), [-1, *(1 for _ in value_of(source).shape[2:])]
        by, plus = (
            constant(program, f"{what}_of_{node.name}", value.detach().reshape(shape))
            for what, value in (("scale", scale), ("shift", shift))
        )
        parts.replace_by(parts.add(aten.add.Tensor, parts.add(aten.mul.Tensor, source, by), plus))
        changed += 1
    return changed


def norms_in_parts(program: ExportedProgram) -> int:
    """Layer norm over the last dimension, and group norm of pictures -> mean, centred, mean square, scaled.

    ExecuTorch's own group norm takes the mean square before the mean away, which is wrong where that is large.
    """
    changed = 0
    for node in _floats(program, aten.layer_norm.default):
        source, shape, weight, bias, eps = arguments(node, (None, None, None, None, 1e-5))
        if not isinstance(shape, (list, tuple)) or len(shape) != 1:
            continue
        parts, mean = Parts(program.graph, node), _shares(program, value_of(source).shape[-1])
        centred = parts.add(aten.sub.Tensor, source, parts.add(aten.linear.default, source, mean))
        square = parts.add(aten.linear.default, parts.add(aten.mul.Tensor, centred, centred), mean)
        _finish(parts, _scaled(parts, centred, square, eps), weight, bias)
        changed += 1
    for node in _floats(program, aten.group_norm.default):
        source, groups, weight, bias, eps = arguments(node, (None, None, None, None, 1e-5))
        if value_of(source).dim() != 4:
            continue
        parts, shape = Parts(program.graph, node), list(value_of(source).shape)
        factors = [parts.add(aten.view.default, each, [-1, 1, 1]) if each else None for each in (weight, bias)]
        if groups == 1:
            centred = parts.add(aten.sub.Tensor, source, _mean_of_pictures(program, parts, source))
            square = _mean_of_pictures(program, parts, parts.add(aten.mul.Tensor, centred, centred))
            scaled = _scaled(parts, centred, square, eps)
        else:
            rows = parts.add(aten.reshape.default, source, [shape[0], groups, -1])
            mean = _shares(program, value_of(rows).shape[-1])
            centred = parts.add(aten.sub.Tensor, rows, parts.add(aten.linear.default, rows, mean))
            square = parts.add(aten.linear.default, parts.add(aten.mul.Tensor, centred, centred), mean)
            scaled = parts.add(aten.reshape.default, _scaled(parts, centred, square, eps), shape)
        _finish(parts, scaled, *factors)
        changed += 1
    return changed


def reductions_as_products(program: ExportedProgram) -> int:
    """Mean, sum and Euclidean norm over dimensions that XNNPACK does not reduce -> a product with a constant."""
    changed = 0
    for node in _floats(program, aten.mean.dim, aten.sum.dim_IntList, aten.linalg_vector_norm.default):
        is_norm = node.target is aten.linalg_vector_norm.default
        if is_norm:
            source, order, dimensions, _ = arguments(node, (None, 2, None, False))
        else:
            source, dimensions, _ = arguments(node, (None, None, False))
            order = 2
        if order != 2 or node.kwargs or not isinstance(dimensions, (list, tuple)) or not dimensions:
            continue
        rank, shape = value_of(source).dim(), value_of(source).shape
        over = sorted(int(each) % rank for each in dimensions)
        if len(over) == rank or (node.target is aten.mean.dim and rank == 4 and over == [2, 3]):
            continue
        parts, count = Parts(program.graph, node), torch.Size(shape[each] for each in over).numel()
        rows = _in_rows(parts, parts.add(aten.mul.Tensor, source, source) if is_norm else source, over)
        weights = _shares(program, count) if node.target is aten.mean.dim else _ones(program, count)
        result = parts.add(aten.linear.default, rows, weights)
        if is_norm:
            result = parts.add(aten.sqrt.default, result)
        parts.replace_by(parts.add(aten.reshape.default, result, list(value_of(node).shape)))
        changed += 1
    return changed


def _mean_of_pictures(program: ExportedProgram, parts: Parts, source: Node) -> Node:
    """[B, C, H, W] -> [B, 1, 1, 1]."""
    batch, channels = value_of(source).shape[:2]
    of_channels = parts.add(aten.mean.dim, source, [2, 3], True)
    rows = parts.add(aten.reshape.default, of_channels, [batch, channels])
    return parts.add(
        aten.reshape.default, parts.add(aten.linear.default, rows, _shares(program, channels)), [-1, 1, 1, 1]
    )


def _scaled(parts: Parts, centred: Node, square: Node, eps: float) -> Node:
    return parts.add(aten.mul.Tensor, centred, parts.add(aten.rsqrt.default, parts.add(aten.add.Tensor, square, eps)))


def _finish(parts: Parts, result: Node, weight: Node | None, bias: Node | None) -> None:
    if weight is not None:
        result = parts.add(aten.mul.Tensor, result, weight)
    if bias is not None:
        result = parts.add(aten.add.Tensor, result, bias)
    parts.replace_by(result)


def _in_rows(parts: Parts, source: Node, over: Sequence[int]) -> Node:
    """The dimensions that are reduced as one, the last."""
    shape = value_of(source).shape
    kept = [each for each in range(len(shape)) if each not in over]
    if [*kept, *over] != list(range(len(shape))):
        source = parts.add(aten.permute.default, source, [*kept, *over])
    if len(over) == 1:
        return source
    return parts.add(aten.reshape.default, source, [*(shape[each] for each in kept), -1])


def _shares(program: ExportedProgram, count: int) -> Node:
    return constant(program, f"shares_of_{count}", torch.full((1, count), 1 / count))


def _ones(program: ExportedProgram, count: int) -> Node:
    return constant(program, f"ones_{count}", torch.ones(1, count))


def _floats(program: ExportedProgram, *targets: object) -> list[Node]:
    """Calls in float32 that the program does not name as its output; in float16 a sum of squares would not fit."""
    return [
        node
        for node in program.graph.nodes
        if node.op == "call_function"
        and node.target in targets
        and value_of(node).dtype is torch.float32
        and not is_output(node)
    ]
