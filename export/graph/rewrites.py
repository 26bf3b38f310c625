"""Rewrites of an exported graph that let a delegate take it in one piece and change no number, or but its rounding.

XNNPACK, through ExecuTorch, leaves out operations for how they are written, not for what they compute: a `chunk`, a
mean that drops its dimensions, a copy that selects everything. One such operation cuts the graph in two, and every cut
costs copies and thread wake-ups. Each rewrite below replaces one pattern by operations that compute the same bits (one
that says `rounds`: the same numbers, rounded at other places); a graph without the pattern is left as it is, so they
are safe for any network.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten
PART_OF_ONE = "part_of_one_operation"
"""Marks operations that are one in the network: a quantizer should not take them for ones of the network's own."""

_FLOATS = (torch.float32, torch.float16)


@dataclass(frozen=True)
class Rewrite:
    """One replacement.

    Attributes:
        apply: changes the graph in place and returns how many places it changed.
        rounds: its numbers are those of before but for the rounding.
    """

    name: str
    apply: Callable[[Graph], int]
    rounds: bool = False


@dataclass(frozen=True)
class Rewritten:
    """What was done, e.g. ("13 × split as slices", "1 × mean that keeps its dimensions"); empty if nothing was."""

    exactly: tuple[str, ...]
    but_for_rounding: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """For people, one sentence each."""
        told = (("without changing a number", self.exactly), ("but for the rounding alike", self.but_for_rounding))
        return tuple(f"rewritten {how}: {', '.join(done)}" for how, done in told if done)


def rewrite(program: torch.export.ExportedProgram, *, whole_attention: bool = False) -> Rewritten:
    """Apply every rewrite to a program as `torch.export.export` made it, in place.

    Args:
        program: changed in place.
        whole_attention: leave attention in one piece, for a backend that takes it so.
    """
    graph = program.graph_module.graph
    chosen = [each for each in REWRITES if not (whole_attention and each.apply is attention_in_parts)]
    done = [(each, count) for each in chosen if (count := each.apply(graph))]
    graph.eliminate_dead_code()
    graph.lint()
    program.graph_module.recompile()
    return Rewritten(
        exactly=tuple(f"{count} × {each.name}" for each, count in done if not each.rounds),
        but_for_rounding=tuple(f"{count} × {each.name}" for each, count in done if each.rounds),
    )


def split_as_slices(graph: Graph) -> int:
    """`chunk`, `split` or `split_with_sizes` whose parts are taken by index -> one slice per part."""
    changed = 0
    for node in _calls(graph, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default):
        users = list(node.users)
        if not all(user.target is operator.getitem for user in users) or _feeds_output(users):
            continue
        source, dimension = node.args[0], _dimension(node, node.args[2] if len(node.args) > 2 else 0)
        sizes = [part.shape[dimension] for part in node.meta["val"]]
        if not isinstance(source, Node) or not all(isinstance(size, int) for size in sizes):
            continue
        for user in users:
            index = user.args[1]
            assert isinstance(index, int), "torch.export writes the parts of a split with constant indices"
            start = sum(sizes[: index % len(sizes)])
            end = start + sizes[index % len(sizes)]
            _replace(graph, user, aten.slice.Tensor, (source, dimension, start, end))
        changed += 1
    return changed


def unbind_as_slices(graph: Graph) -> int:
    """`unbind` whose parts are taken by index -> one slice per part, without the dimension that has one."""
    changed = 0
    for node in _calls(graph, aten.unbind.int):
        users = list(node.users)
        if not all(user.target is operator.getitem for user in users) or _feeds_output(users):
            continue
        source, dimension = node.args[0], _dimension(node, node.args[1] if len(node.args) > 1 else 0)
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
    for node in _calls(graph, aten.select.int):
        source, dimension, index = node.args[0], _dimension(node, node.args[1]), node.args[2]
        if not isinstance(source, Node) or not isinstance(index, int) or _is_output(node):
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
    _replace(graph, node, aten.reshape.default, (part, list(node.meta["val"].shape)))


def mean_keeping_dimensions(graph: Graph) -> int:
    """Mean of [B, C, H, W] over height and width to [B, C] -> mean to [B, C, 1, 1], then flattened."""
    changed = 0
    for node in _calls(graph, aten.mean.dim):
        source, dimensions = node.args[0], node.args[1]
        keeps = len(node.args) > 2 and bool(node.args[2])
        if not isinstance(source, Node) or not isinstance(dimensions, (list, tuple)) or keeps or node.kwargs:
            continue
        rank = source.meta["val"].dim()
        if rank != 4 or {int(d) % rank for d in dimensions if isinstance(d, int)} != {2, 3} or _is_output(node):
            continue
        with graph.inserting_before(node):
            kept = graph.call_function(aten.mean.dim, (source, [2, 3], True))
            kept.meta = dict(node.meta, val=node.meta["val"].unsqueeze(-1).unsqueeze(-1))
        _replace(graph, node, aten.flatten.using_ints, (kept, 1))
        changed += 1
    return changed


def drop_whole_selections(graph: Graph) -> int:
    """`alias`, and a slice or an expansion that selects everything -> their input."""
    changed = 0
    for node in _calls(graph, aten.alias.default, aten.slice.Tensor, aten.expand.default):
        source = node.args[0]
        if not isinstance(source, Node) or _is_output(node) or node.meta["val"].shape != source.meta["val"].shape:
            continue
        if node.target is aten.slice.Tensor and len(node.args) > 4 and node.args[4] != 1:
            continue
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        changed += 1
    return changed


def hard_sigmoid_in_parts(graph: Graph) -> int:
    """Hard sigmoid -> clamp(x + 3, 0, 6) / 6 with float constants.

    ExecuTorch would decompose it by itself, with integer constants that are cast to float outside of the delegate at
    every inference. The parts carry `PART_OF_ONE` in their metadata.
    """
    changed = 0
    for node in _calls(graph, aten.hardsigmoid.default):
        source = node.args[0]
        if not isinstance(source, Node) or _is_output(node) or node.meta["val"].dtype not in _FLOATS:
            continue
        meta = {**node.meta, PART_OF_ONE: True}
        with graph.inserting_before(node):
            added = graph.call_function(aten.add.Tensor, (source, 3.0))
            clamped = graph.call_function(aten.hardtanh.default, (added, 0.0, 6.0))
            divided = graph.call_function(aten.div.Tensor, (clamped, 6.0))
        for part in (added, clamped, divided):
            part.meta = dict(meta)
        node.replace_all_uses_with(divided)
        graph.erase_node(node)
        changed += 1
    return changed


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
    for node in _calls(graph, aten.softmax.int):
        source, value = node.args[0], node.meta["val"]
        if not isinstance(source, Node) or value.dim() != 4 or node.args[1] not in (-1, 3) or _is_output(node):
            continue
        if not (_meets(node, up=True) or _meets(node, up=False)):
            continue
        batch, heads, rows, columns = value.shape
        with graph.inserting_before(node):
            flat = graph.call_function(aten.view.default, (source, [batch * heads, rows, columns]))
            shares = graph.call_function(aten.softmax.int, (flat, -1, *node.args[2:]), dict(node.kwargs))
        flat.meta = dict(node.meta, val=source.meta["val"].flatten(0, 1))
        shares.meta = dict(node.meta, val=value.flatten(0, 1))
        _replace(graph, node, aten.view.default, (shares, [batch, heads, rows, columns]))
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
    for node in _calls(graph, aten.matmul.default):
        left, right = node.args
        if not isinstance(left, Node) or not isinstance(right, Node) or _is_output(node):
            continue
        ours, theirs = left.meta["val"], right.meta["val"]
        if ours.dim() < 3 or ours.shape[:-2] != theirs.shape[:-2]:
            continue
        if ours.dim() == 3:
            _replace(graph, node, aten.bmm.default, (left, right))
        else:
            with graph.inserting_before(node):
                flat = [_of_three_dimensions(graph, each) for each in (left, right)]
                product = graph.call_function(aten.bmm.default, tuple(flat))
            product.meta = dict(node.meta, val=torch.bmm(*(each.meta["val"] for each in flat)))
            _replace(graph, node, aten.reshape.default, (product, list(node.meta["val"].shape)))
        changed += 1
    return changed


def attention_in_parts(graph: Graph) -> int:
    """Scaled dot-product attention -> scaled queries, a product, softmax, a product, of three dimensions each.

    ExecuTorch would decompose it into parts that XNNPACK does not take: a scale on both sides, expansions of what is
    whole, and a softmax that looks for rows without any finite value, which only a mask can make. The parts carry
    `PART_OF_ONE`. Left as it is where it drops values, looks at the past only, shares keys among heads or has a mask of
    yes and no.
    """
    changed = 0
    for node in _calls(graph, aten.scaled_dot_product_attention.default):
        query, key, value, mask, drops, causal = (*node.args, *(None, 0.0, False)[len(node.args) - 3 :])
        scale = node.kwargs.get("scale")
        shapes = [each.meta["val"].shape for each in (query, key, value) if isinstance(each, Node)]
        if len(shapes) < 3 or len({shape[:-2] for shape in shapes}) > 1 or drops or causal or _is_output(node):
            continue
        if node.kwargs.get("enable_gqa") or not (mask is None or _is_float(mask)):
            continue
        lead, (rows, width), columns = list(shapes[0][:-2]), shapes[0][-2:], shapes[1][-2]

        def add(target: Callable[..., object], *arguments: object, at: Node = node) -> Node:
            with graph.inserting_before(at):
                made = graph.call_function(target, arguments)  # pyright: ignore[reportArgumentType]
            values = [each.meta["val"] if isinstance(each, Node) else each for each in arguments]
            made.meta = {**at.meta, "val": target(*values), PART_OF_ONE: True}
            return made

        count = shapes[0][:-2].numel()
        scaled = add(aten.mul.Tensor, query, width**-0.5 if scale is None else scale)
        ours = add(aten.reshape.default, scaled, [count, rows, width])
        theirs = add(aten.reshape.default, key, [count, columns, width])
        scores = add(aten.bmm.default, ours, add(aten.transpose.int, theirs, 1, 2))
        if mask is not None:
            masked = add(aten.add.Tensor, add(aten.reshape.default, scores, [*lead, rows, columns]), mask)
            scores = add(aten.reshape.default, masked, [count, rows, columns])
        shares = add(aten.softmax.int, scores, -1)
        answers = add(aten.bmm.default, shares, add(aten.reshape.default, value, [count, columns, shapes[2][-1]]))
        _replace(graph, node, aten.reshape.default, (answers, [*lead, rows, shapes[2][-1]]))
        changed += 1
    return changed


def _is_float(node: object) -> bool:
    return isinstance(node, Node) and node.meta["val"].dtype in _FLOATS


def _of_three_dimensions(graph: Graph, node: Node) -> Node:
    value = node.meta["val"]
    flat = graph.call_function(aten.reshape.default, (node, [value.shape[:-2].numel(), *value.shape[-2:]]))
    flat.meta = dict(node.meta, val=value.reshape(value.shape[:-2].numel(), *value.shape[-2:]))
    return flat


REWRITES = (
    Rewrite("split as slices", split_as_slices),
    Rewrite("unbind as slices", unbind_as_slices),
    Rewrite("selection of one as slice", select_as_slice),
    Rewrite("mean that keeps its dimensions", mean_keeping_dimensions),
    Rewrite("selection of everything left out", drop_whole_selections),
    Rewrite("hard sigmoid in parts", hard_sigmoid_in_parts),
    Rewrite("softmax over rows", softmax_of_rows),
    Rewrite("matrix product of three dimensions", products_without_expansion),
    Rewrite("attention in parts", attention_in_parts, rounds=True),
)


def module_of(node: Node) -> str:
    """Dotted name of the innermost module that an exported node comes from; empty for the exported module itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return path.removeprefix("L['self'].").removeprefix("L__self__.")


def _calls(graph: Graph, *targets: object) -> list[Node]:
    return [node for node in graph.nodes if node.op == "call_function" and node.target in targets]


def _dimension(node: Node, dimension: object) -> int:
    source = node.args[0]
    assert isinstance(source, Node)
    assert isinstance(dimension, int)
    return dimension % source.meta["val"].dim()


def _is_output(node: Node) -> bool:
    """The program's signature names its outputs by node, so such a node has to stay."""
    return any(user.op == "output" for user in node.users)


def _feeds_output(nodes: list[Node]) -> bool:
    return any(_is_output(node) for node in nodes)


def _replace(graph: Graph, old: Node, target: Callable[..., object], arguments: tuple[object, ...]) -> None:
    with graph.inserting_before(old):
        new = graph.call_function(target, arguments)  # pyright: ignore[reportArgumentType]
        new.meta = dict(old.meta)
    old.replace_all_uses_with(new)
    graph.erase_node(old)


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
    for node in _calls(program.graph, aten.max_pool2d.default):
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
