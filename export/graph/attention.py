"""Attention and its matrix products, in parts that XNNPACK takes."""

import torch
from torch.fx import Graph, Node

from export.graph.parts import Parts, calls, is_output, replace

aten = torch.ops.aten
_FLOATS = (torch.float32, torch.float16)

_PICTURES = (
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.upsample_bilinear2d.vec,
)
"""Operations for which XNNPACK keeps the channels last."""

_ORDER_ANEW = (
    aten.matmul.default,
    aten.bmm.default,
    aten.linear.default,
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.permute.default,
    aten.transpose.int,
)
"""Operations behind which the order in memory is that of the dimensions again."""


def softmax_of_rows(graph: Graph) -> int:
    """Softmax over the last of four dimensions, near a convolution -> over the last of three.

    ExecuTorch 1.5.1 takes a softmax between two convolutions into XNNPACK with its channels last, where the last
    dimension is another one: attention whose heads are mixed by convolutions (EfficientFormerV2) had wrong numbers.
    """
    changed = 0
    for node in calls(graph, aten.softmax.int):
        source, value = node.args[0], node.meta["val"]
        if not isinstance(source, Node) or value.dim() != 4 or node.args[1] not in (-1, 3) or is_output(node):
            continue
        if not (_meets(node, up=True) or _meets(node, up=False)):
            continue
        batch, heads, rows, columns = value.shape
        with graph.inserting_before(node):
            flat = graph.call_function(aten.view.default, (source, [batch * heads, rows, columns]))
            shares = graph.call_function(aten.softmax.int, (flat, -1, *node.args[2:]), dict(node.kwargs))
        flat.meta = dict(node.meta, val=source.meta["val"].flatten(0, 1))
        shares.meta = dict(node.meta, val=value.flatten(0, 1))
        replace(graph, node, aten.view.default, (shares, [batch, heads, rows, columns]))
        changed += 1
    return changed


def _meets(node: Node, *, up: bool) -> bool:
    """Whether a convolution or pool of pictures lies before or behind, with nothing between that orders memory anew."""
    waiting = [node]
    seen = {node}
    while waiting:
        here = waiting.pop()
        for near in here.all_input_nodes if up else here.users:
            if near in seen or near.op != "call_function" or near.target in _ORDER_ANEW:
                continue
            if near.target in _PICTURES:
                return True
            seen.add(near)
            waiting.append(near)
    return False


def products_without_expansion(graph: Graph) -> int:
    """Matrix product of equally many matrices on both sides -> `bmm` of three dimensions.

    ExecuTorch would decompose it into expansions of what is whole already, which XNNPACK does not take, and `bmm`.
    """
    changed = 0
    for node in calls(graph, aten.matmul.default):
        left, right = node.args
        if not isinstance(left, Node) or not isinstance(right, Node) or is_output(node):
            continue
        ours, theirs = left.meta["val"], right.meta["val"]
        if ours.dim() < 3 or ours.shape[:-2] != theirs.shape[:-2]:
            continue
        if ours.dim() == 3:
            replace(graph, node, aten.bmm.default, (left, right))
        else:
            with graph.inserting_before(node):
                flat = [_of_three_dimensions(graph, each) for each in (left, right)]
                product = graph.call_function(aten.bmm.default, tuple(flat))
            product.meta = dict(node.meta, val=torch.bmm(*(each.meta["val"] for each in flat)))
            replace(graph, node, aten.reshape.default, (product, list(node.meta["val"].shape)))
        changed += 1
    return changed


def attention_in_parts(graph: Graph) -> int:
    """Scaled dot-product attention -> scaled queries, a product, softmax, a product, of three dimensions each.

    ExecuTorch would decompose it into parts that XNNPACK does not take: a scale on both sides, expansions of what is
    whole, and a softmax that looks for rows without any finite value, which only a mask can make. Heads that all look
    at the same keys are rows of one product. The parts are marked as such. Left as it is where it drops values, looks
    at the past only, shares keys among some heads or has a mask of yes and no.
    """
    changed = 0
    for node in calls(graph, aten.scaled_dot_product_attention.default):
        query, key, value, mask, drops, causal = (*node.args, *(None, 0.0, False)[len(node.args) - 3 :])
        scale = node.kwargs.get("scale")
        shapes = [each.meta["val"].shape for each in (query, key, value) if isinstance(each, Node)]
        if len(shapes) < 3 or shapes[1][:-2] != shapes[2][:-2] or drops or causal or is_output(node):
            continue
        heads_share = shapes[0][:-2] != shapes[1][:-2]
        if heads_share and (mask is not None or shapes[1][:-2] != (*shapes[0][:-3], 1)):
            continue
        if node.kwargs.get("enable_gqa") or not (mask is None or _is_float(mask)):
            continue
        lead, (rows, width), columns = list(shapes[0][:-2]), shapes[0][-2:], shapes[1][-2]

        parts = Parts(graph, node)
        count = shapes[1][:-2].numel()
        scaled = parts.add(aten.mul.Tensor, query, width**-0.5 if scale is None else scale)
        ours = parts.add(aten.reshape.default, scaled, [count, -1, width])
        theirs = parts.add(aten.reshape.default, key, [count, columns, width])
        scores = parts.add(aten.bmm.default, ours, parts.add(aten.transpose.int, theirs, 1, 2))
        if mask is not None:
            masked = parts.add(aten.add.Tensor, parts.add(aten.reshape.default, scores, [*lead, rows, columns]), mask)
            scores = parts.add(aten.reshape.default, masked, [count, rows, columns])
        shares = parts.add(aten.softmax.int, scores, -1)
        answers = parts.add(
            aten.bmm.default, shares, parts.add(aten.reshape.default, value, [count, columns, shapes[2][-1]])
        )
        replace(graph, node, aten.reshape.default, (answers, [*lead, rows, shapes[2][-1]]))
        changed += 1
    return changed


def _is_float(node: object) -> bool:
    return isinstance(node, Node) and node.meta["val"].dtype in _FLOATS


def _of_three_dimensions(graph: Graph, node: Node) -> Node:
    value = node.meta["val"]
    flat = graph.call_function(aten.reshape.default, (node, [value.shape[:-2].numel(), *value.shape[-2:]]))
    flat.meta = dict(node.meta, val=value.reshape(value.shape[:-2].numel(), *value.shape[-2:]))
    return flat
