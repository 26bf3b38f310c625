"""Rewrites of an exported graph that let a delegate take it in one piece and change no number, or but its rounding.

XNNPACK, through ExecuTorch, leaves out operations for how they are written, not for what they compute: a `chunk`, a
mean that drops its dimensions, a copy that selects everything. One such operation cuts the graph in two, and every cut
costs copies and thread wake-ups. Each rewrite below replaces one pattern by operations that compute the same bits (one
that says `rounds`: the same numbers, rounded at other places); a graph without the pattern is left as it is, so they
are safe for any network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule

from export.graph.arithmetic import (
    computed_once,
    hard_sigmoid_in_parts,
    products_added_in_parts,
    whole_numbers_as_floats,
)
from export.graph.attention import attention_in_parts, products_without_expansion, softmax_of_rows
from export.graph.movements import (
    dimensions_of_one_by_reshape,
    drop_whole_selections,
    expansions_left_out,
    nearest_in_parts,
    select_as_slice,
    split_as_slices,
    strided_slices_in_parts,
    unbind_as_slices,
)
from export.graph.reductions import (
    batch_norm_as_product,
    mean_keeping_dimensions,
    norms_in_parts,
    reductions_as_products,
)

Backend = Literal["xnnpack", "vulkan", "coreml", "portable"]
"""Of ExecuTorch."""

_OTHERS: tuple[Backend, ...] = ("vulkan", "coreml", "portable")


@dataclass(frozen=True)
class Rewrite:
    """One replacement.

    Attributes:
        apply: changes the program in place and returns how many places it changed.
        rounds: its numbers are those of before but for the rounding.
        whole_in: backends that take what it takes apart as one operation.
    """

    name: str
    apply: Callable[[ExportedProgram], int]
    rounds: bool = False
    whole_in: tuple[Backend, ...] = ()


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


def rewrite(program: ExportedProgram, backend: Backend = "xnnpack") -> Rewritten:
    """Apply to a program, as `torch.export.export` made it, every rewrite that a backend needs.

    Args:
        program: changed in place.
        backend: what it takes as one operation is not taken apart.
    """
    chosen = [each for each in REWRITES if backend not in each.whole_in]
    done = [(each, count) for each in chosen if (count := each.apply(program))]
    for module in _regions(program):
        module.graph.eliminate_dead_code()
        module.graph.lint()
        module.recompile()
    return Rewritten(
        exactly=tuple(f"{count} × {each.name}" for each, count in done if not each.rounds),
        but_for_rounding=tuple(f"{count} × {each.name}" for each, count in done if each.rounds),
    )


def _of_graph(change: Callable[[Graph], int]) -> Callable[[ExportedProgram], int]:
    """A change that needs no more of a program than its graph, and those of the regions inside it."""
    return lambda program: sum(change(module.graph) for module in _regions(program))


def _regions(program: ExportedProgram) -> list[GraphModule]:
    """The program's graph module, and those of regions with settings of their own, such as without autocast."""
    return [module for module in program.graph_module.modules() if isinstance(module, GraphModule)]


REWRITES = (
    Rewrite("computed once", computed_once),
    Rewrite("split as slices", _of_graph(split_as_slices)),
    Rewrite("unbind as slices", _of_graph(unbind_as_slices)),
    Rewrite("selection of one as slice", _of_graph(select_as_slice)),
    Rewrite("every n-th place as slices", _of_graph(strided_slices_in_parts)),
    Rewrite("mean that keeps its dimensions", _of_graph(mean_keeping_dimensions)),
    Rewrite("selection of everything left out", _of_graph(drop_whole_selections)),
    Rewrite("expansion left to its users", _of_graph(expansions_left_out)),
    Rewrite("dimension of one by reshape", _of_graph(dimensions_of_one_by_reshape)),
    Rewrite("nearest neighbour as product", nearest_in_parts, whole_in=_OTHERS),
    Rewrite("whole number as float", _of_graph(whole_numbers_as_floats)),
    Rewrite("hard sigmoid in parts", _of_graph(hard_sigmoid_in_parts)),
    Rewrite("softmax over rows", _of_graph(softmax_of_rows)),
    Rewrite("matrix product of three dimensions", _of_graph(products_without_expansion)),
    Rewrite("attention in parts", _of_graph(attention_in_parts), rounds=True, whole_in=("coreml",)),
    Rewrite("product and sum in parts", _of_graph(products_added_in_parts), rounds=True, whole_in=_OTHERS),
    Rewrite("batch norm as product", batch_norm_as_product, rounds=True, whole_in=_OTHERS),
    Rewrite("norm in parts", norms_in_parts, rounds=True, whole_in=_OTHERS),
    Rewrite("reduction as product", reductions_as_products, rounds=True, whole_in=_OTHERS),
)
"""In the order in which they are applied."""
