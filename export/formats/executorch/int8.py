"""Static int8 for XNNPACK by PT2E: the quantizer's choice of operations, our ranges."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.observer import UniformQuantizationObserverBase
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from export.artifact.runner import Batch
from export.graph.layers import is_inside, module_of
from export.graph.parts import PART_OF_ONE
from export.quantize.divisors import stay_float
from export.quantize.ranges import CalibratorName, Histogram
from export.quantize.recipe import OperationName, QuantizationRecipe
from export.quantize.steps import Kind, Step

aten = torch.ops.aten
MOVES = (
    aten.slice.Tensor,
    aten.contiguous.default,
    aten.clone.default,
    aten.mT.default,
    aten.view.default,
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
)
"""Operations that move values without changing them; XNNPACKQuantizer forgets the first four.

The runtime loads none whose result has another range than what it is given."""


def quantize(program: torch.export.ExportedProgram, recipe: QuantizationRecipe, images: Batch) -> GraphModule:
    """A program of batch 1 or more as a graph with quantize and dequantize operations around what is int8.

    The graph runs in eager PyTorch, which shows what a recipe costs without lowering.

    Args:
        program: in float; not changed.
        recipe: checked.
        images: float32 [N, C, H, W] in [0, 1], training images.
    """
    assert program.example_inputs is not None, "torch.export keeps the example"
    (example,) = program.example_inputs[0]
    prepared = prepare_pt2e(program.module(), quantizer(recipe))  # pyright: ignore[reportArgumentType]
    batch = len(example)
    with torch.no_grad():
        for part in torch.from_numpy(images).split(batch):
            if len(part) == batch:
                prepared(part)
    return convert_pt2e(prepared)


def quantizer(recipe: QuantizationRecipe) -> XNNPACKQuantizer:
    """XNNPACK's quantizer with the recipe's ranges and exceptions."""
    base = get_symmetric_quantization_config(is_per_channel=recipe.per_channel)
    activation = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=RangeObserver.with_args(recipe=recipe, eps=2**-12),
    )
    config = replace(base, input_activation=activation, output_activation=activation)
    chosen, keeps = SharingQuantizer(), stays_integer(recipe)
    chosen.set_global(config)
    return chosen.set_filter_function(lambda node: node not in chosen.divided and keeps(node))


class SharingQuantizer(XNNPACKQuantizer):
    """XNNPACKQuantizer that also keeps slices and copies in int8, with the range of what they are taken from.

    Attributes:
        divided: nodes that divide by something computed, and those that only they need; set by `annotate`.
    """

    divided: set[Node]

    def annotate(self, model: GraphModule) -> GraphModule:
        """Choose the operations, then let those that only move values share the range of their input."""
        self.divided = divided(model)
        model = super().annotate(model)
        for node in model.graph.nodes:
            if node.target in MOVES and Q_ANNOTATION_KEY not in node.meta and node not in self.divided:
                _share_with_input(node)
        return model


_NODE_KINDS: dict[Any, Kind] = {
    **dict.fromkeys((aten.div.Tensor, aten.div_.Tensor), "quotient"),
    **dict.fromkeys((aten.rsqrt.default, aten.reciprocal.default), "root"),
    **dict.fromkeys(
        (aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.linalg_vector_norm.default), "reduction"
    ),
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.view.default), "elementwise"),
    **dict.fromkeys(
        (aten.conv2d.default, aten.conv2d.padding, aten.linear.default, aten.matmul.default, aten.bmm.default),
        "weighted",
    ),
}


def divided(model: GraphModule) -> set[Node]:
    """The nodes that divide by something computed, and those that only they need."""
    nodes = [node for node in model.graph.nodes if node.op == "call_function"]
    steps = [
        Step(number, _NODE_KINDS.get(node.target, "other"), tuple(node.all_input_nodes), (node,))
        for number, node in enumerate(nodes)
    ]

    def size(node: Node) -> int:
        value = node.meta.get("val")
        return value.numel() if isinstance(value, torch.Tensor) else 0

    found = stay_float(steps, lambda node: node.op == "get_attr", size)
    return {nodes[number] for number in found}


def _share_with_input(node: Node) -> None:
    source = node.args[0]
    if not isinstance(source, Node):
        return
    annotation = source.meta.get(Q_ANNOTATION_KEY)
    if annotation is None or annotation.output_qspec is None:
        return
    shared = SharedQuantizationSpec(source)
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
        input_qspec_map={source: shared}, output_qspec=shared, _annotated=True
    )


_OPERATIONS: dict[OperationName, tuple[Any, ...]] = {
    "multiply": (aten.mul.Tensor, aten.mul_.Tensor),
    "add": (aten.add.Tensor, aten.add_.Tensor),
    "pool": (aten.mean.dim, aten.adaptive_avg_pool2d.default),
    "concatenate": (aten.cat.default,),
}
OPERATIONS: tuple[OperationName, ...] = tuple(_OPERATIONS)
CALIBRATORS: tuple[CalibratorName, ...] = get_args(CalibratorName)


def stays_integer(recipe: QuantizationRecipe) -> Callable[[Node], bool]:
    """Whether a node is quantized: not if the recipe says float."""
    excluded = {target for name in recipe.float_operations for target in _OPERATIONS[name]}

    def decide(node: Node) -> bool:
        if node.target in excluded or PART_OF_ONE in node.meta:
            return False
        return not is_inside(module_of(node), recipe.float_layers)

    return decide


class RangeObserver(UniformQuantizationObserverBase):
    """Sees the values of one activation and gives the scale and zero point of the recipe's range."""

    def __init__(self, recipe: QuantizationRecipe, **settings: Any) -> None:
        super().__init__(**settings)
        self.recipe = recipe
        self.seen = Histogram()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Count the values; they pass through."""
        self.seen.add(x.detach().numpy())
        return x

    def calculate_qparams(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, as tensors of one element."""
        low, high = self.recipe.range_of(self.seen)
        return self._calculate_qparams(torch.tensor(low), torch.tensor(high))
