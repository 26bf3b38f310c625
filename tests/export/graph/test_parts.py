"""Operations in parts: norms, reductions, enlargements, constants, each against the network, and what looks alike."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.graph.rewrites import Backend, Rewritten, rewrite

# ExecuTorch's modules, which constants are made with, warn of what they import.
pytestmark = pytest.mark.filterwarnings("ignore")

PICTURES = torch.randn((2, 6, 7, 10), generator=torch.Generator().manual_seed(2))


class Calls(nn.Module):
    """A function of pictures as a network, with weights that it may use."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 6))
        self.bias = nn.Parameter(torch.linspace(-1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x).flatten(1).exp()


def after(function: object, example: Tensor = PICTURES) -> tuple[nn.Module, nn.Module, Rewritten, Counter[str]]:
    """A network, the same one rewritten, what was done, and how often it has each operation."""
    network = Calls(function).eval()
    program = torch.export.export(network, (example,))
    done = rewrite(program)
    operations = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    return network, program.module(), done, operations


def assert_same_bits(network: nn.Module, found: nn.Module, pictures: Tensor = PICTURES) -> None:
    with torch.no_grad():
        assert torch.equal(found(pictures), network(pictures))


def assert_alike(network: nn.Module, found: nn.Module, pictures: Tensor = PICTURES) -> None:
    with torch.no_grad():
        torch.testing.assert_close(found(pictures), network(pictures), rtol=1e-5, atol=1e-6)


def last(x: Tensor) -> Tensor:
    """Channels last."""
    return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: F.layer_norm(last(x), (6,), self.weight, self.bias, 1e-3),
        lambda self, x: F.layer_norm(last(x), (6,)),
        lambda self, x: F.group_norm(x, 1, self.weight, self.bias, 1e-3),
        lambda self, x: F.group_norm(x, 1),
        lambda self, x: F.group_norm(x, 3, self.weight, self.bias, 1e-3),
    ],
    ids=["layer norm", "layer norm without weights", "group norm", "group norm without weights", "three groups"],
)
def test_a_norm_in_parts_answers_alike(function: object) -> None:
    network, found, done, operations = after(function)
    assert done.but_for_rounding == ("1 × norm in parts",)
    assert not [name for name in operations if "norm" in name]
    assert_alike(network, found)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("before", "count"),
    [(nn.ReLU(), 1), (nn.Conv2d(6, 6, 1), 0), (nn.Linear(10, 10), 0)],
    ids=["behind a ReLU", "behind a convolution", "behind a product"],
)
def test_a_batch_norm_that_nothing_takes_up_is_a_product_and_a_sum(before: nn.Module, count: int, affine: bool) -> None:
    norm = nn.BatchNorm2d(6, affine=affine)
    network = nn.Sequential(before, norm, nn.ReLU())
    network(PICTURES + 3)
    program = torch.export.export(network.eval(), (PICTURES,))
    done = rewrite(program)
    assert done.but_for_rounding == (("1 × batch norm as product",) if count else ())
    operations = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    assert operations["aten.batch_norm.default"] == 1 - count
    assert_alike(network, program.module())


def test_a_batch_norm_beside_another_use_of_its_convolution_is_a_product_and_a_sum() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return (x + self.norm(x)).relu()

    network = Beside()
    network(PICTURES + 3)
    program = torch.export.export(network.eval(), (PICTURES,))
    assert rewrite(program).but_for_rounding == ("1 × batch norm as product",)
    assert_alike(network, program.module())


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: F.layer_norm(x, (7, 10)),
        lambda self, x: F.group_norm(x.flatten(2), 2, self.weight, self.bias),
        lambda self, x: F.layer_norm(last(x).half(), (6,)),
        lambda self, x: F.layer_norm(last(x).double(), (6,)),
    ],
    ids=["over two dimensions", "not of pictures", "float16", "float64"],
)
def test_a_norm_of_another_kind_is_left_whole(function: object) -> None:
    network, found, done, _ = after(function)
    assert done.notes == ()
    assert_same_bits(network, found)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: x.mean(-1),
        lambda self, x: x.mean(1, keepdim=True),
        lambda self, x: x.mean((1, 2)),
        lambda self, x: x.flatten(2).mean(1),
        lambda self, x: x.sum((3, 1), keepdim=True),
        lambda self, x: x.sum((2, 3)) * 0.01,
        lambda self, x: x.norm(p=2, dim=(1, 2), keepdim=True),
        lambda self, x: torch.linalg.vector_norm(x, dim=-1),
        lambda self, x: F.normalize(x, dim=-1),
    ],
)
def test_a_reduction_as_a_product_answers_alike(function: object) -> None:
    network, found, done, operations = after(function)
    assert done.but_for_rounding == ("1 × reduction as product",)
    assert not [name for name in operations if any(part in name for part in ("mean", "sum", "norm", "expand"))]
    assert_alike(network, found)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: x.mean() * x,
        lambda self, x: x.mean((2, 3), keepdim=True),
        lambda self, x: x.norm(p=1, dim=-1) * 0.1,
        lambda self, x: x.sum(-1, dtype=torch.float64),
        lambda self, x: x.long().sum(-1),
        lambda self, x: x.half().mean(-1),
        lambda self, x: x.amax(-1),
    ],
    ids=["of everything", "of pictures", "sum of sizes", "in float64", "of whole numbers", "in float16", "largest"],
)
def test_a_reduction_of_another_kind_is_left(function: object) -> None:
    network, found, done, _ = after(function)
    assert done.but_for_rounding == ()
    assert_same_bits(network, found)


@pytest.mark.parametrize("start", [None, 0, 1, 3, -5])
@pytest.mark.parametrize("end", [None, 6, -2])
@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_every_nth_place_is_taken_by_slices(start: int | None, end: int | None, step: int, dimension: int) -> None:
    picked = slice(start, end, step)
    places = (slice(None),) * dimension + (picked,)
    expected = PICTURES[places]
    network, found, done, operations = after(lambda self, x: x[places] * 2.0)
    assert_same_bits(network, found)
    if expected.shape[dimension] > 1:
        assert "1 × every n-th place as slices" in done.exactly
    assert not operations["aten.slice.Tensor"] or done.exactly


@pytest.mark.parametrize(
    ("settings", "products"),
    [
        ({"scale_factor": 2.0}, 0),
        ({"size": (28, 20)}, 0),
        ({"size": (7, 30)}, 0),
        ({"size": (35, 50)}, 0),
        ({"size": (16, 20)}, 2),
        ({"size": (9, 13)}, 2),
        ({"scale_factor": 1.5}, 2),
        ({"size": (5, 10)}, 2),
    ],
)
def test_nearest_neighbours_are_products(settings: dict[str, object], products: int) -> None:
    network, found, done, operations = after(lambda self, x: F.interpolate(x, mode="nearest", **settings))
    assert done.exactly == ("1 × nearest neighbour as product",)
    assert operations["aten.linear.default"] == products
    assert not [name for name in operations if "upsample" in name]
    assert_same_bits(network, found)


def test_an_expansion_is_left_to_those_that_expand_by_themselves_alone() -> None:
    network, found, done, _ = after(lambda self, x: x / x.amax(-1, keepdim=True).expand_as(x))
    assert done.exactly == ("1 × expansion left to its users",)
    assert_same_bits(network, found)

    def needed(self: Calls, x: Tensor) -> Tensor:
        wide = x.amax(-1, keepdim=True).expand_as(x)
        return torch.cat([x - wide, wide.exp()], 1)

    network, found, done, operations = after(needed)
    assert done.notes == ()
    assert operations["aten.expand.default"] + operations["aten.expand_as.default"] == 1
    assert_same_bits(network, found)


def test_two_that_expand_each_other_stay_as_they_are() -> None:
    def both(self: Calls, x: Tensor) -> Tensor:
        rows, columns = x.amax(-1, keepdim=True), x.amax(-2, keepdim=True)
        return rows.expand_as(x) * columns

    network, found, _, _ = after(both)
    assert_same_bits(network, found)


def test_dimensions_of_one_come_and_go_by_reshape() -> None:
    network, found, done, operations = after(lambda self, x: x.unsqueeze(1).exp().squeeze(1)[:, :1].sin().squeeze())
    assert done.exactly == ("3 × dimension of one by reshape",)
    assert operations["aten.reshape.default"] == 3
    assert_same_bits(network, found)


def test_whole_numbers_become_floats_of_floats_alone() -> None:
    network, found, done, _ = after(lambda self, x: (x + 2) * 3 / 4 - 1 + (x.long() + 2))
    assert done.exactly == ("4 × whole number as float",)
    assert_same_bits(network, found)


def test_a_product_that_is_added_is_two_operations() -> None:
    network, found, done, operations = after(lambda self, x: torch.addcmul(x, x, x.tanh(), value=0.5))
    assert done.but_for_rounding == ("1 × product and sum in parts",)
    assert not operations["aten.addcmul.default"]
    assert_alike(network, found)


def test_what_is_computed_of_constants_is_computed_once() -> None:
    def positions(self: Calls, x: Tensor) -> Tensor:
        ramp = torch.ones(7, 10).cumsum(1) / 10
        return x * torch.stack([ramp.sin(), ramp.cos()]).mean(0) + (self.weight * 2.0).view(-1, 1, 1)

    network, found, done, operations = after(positions)
    assert done.exactly == ("2 × computed once",)
    assert set(operations) <= {
        "aten.mul.Tensor",
        "aten.view.default",
        "aten.add.Tensor",
        "aten.flatten.using_ints",
        "aten.exp.default",
    }
    assert_same_bits(network, found)


def test_what_draws_numbers_or_changes_a_constant_is_not_computed_once() -> None:
    _, found, done, operations = after(lambda self, x: x + torch.rand(7, 10) * 2.0)
    assert done.notes == ()
    assert operations["aten.rand.default"] == 1
    assert not torch.equal(found(PICTURES), found(PICTURES))

    def changed(self: Calls, x: Tensor) -> Tensor:
        ramp = torch.ones(7, 10) * 2.0
        ramp.add_(1)
        return x * ramp

    network, found, _, _ = after(changed)
    assert_same_bits(network, found)


@pytest.mark.parametrize("backend", ["vulkan", "coreml", "portable"])
def test_what_another_backend_takes_whole_is_not_taken_apart(backend: Backend) -> None:
    network = EveryKind().eval()
    program = torch.export.export(network, (torch.rand(1, 3, 28, 28),))
    done = rewrite(program, backend)
    assert done.but_for_rounding == (() if backend == "coreml" else ("1 × attention in parts",))
    operations = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"aten.layer_norm.default", "aten.group_norm.default", "aten.upsample_nearest2d.vec"} <= operations


def test_heads_that_share_their_keys_are_rows_of_one_product() -> None:
    def shared(self: Calls, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[:, :1].exp(), x[:, 1:2, :, :3])

    network, found, done, operations = after(shared)
    assert done.but_for_rounding == ("1 × attention in parts",)
    assert operations["aten.bmm.default"] == 2
    assert_alike(network, found)

    def some(self: Calls, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True)

    network, found, done, _ = after(some)
    assert done.but_for_rounding == ()
    assert_alike(network, found)


class EveryKind(nn.Module):
    """Layer norm, group norm, attention with shared keys, a norm over places, strides and enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.group, self.tokens = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(1, 8), nn.LayerNorm(8)
        self.query, self.keys, self.head = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.stem(x)).relu()
        x = x * F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="nearest").sigmoid()
        x = x * F.interpolate(F.avg_pool2d(x, 3, 3), size=x.shape[-2:], mode="nearest").sigmoid()
        places = x.permute(0, 2, 3, 1)
        places = torch.addcmul(places, places, places.norm(p=2, dim=(1, 2), keepdim=True) / 9)
        tokens = self.tokens(places[:, ::2, ::2].flatten(1, 2))
        queries = self.query(tokens).unflatten(-1, (2, 8)).transpose(1, 2)
        keys = F.normalize(self.keys(tokens), dim=-1).unsqueeze(1)
        seen = F.scaled_dot_product_attention(queries, keys, keys).transpose(1, 2).flatten(2)
        return self.head((tokens + seen[..., :8]).mean(1) + 1)


@pytest.mark.parametrize("quantized", [False, True], ids=["fp32", "int8"])
def test_a_network_of_every_kind_is_one_piece(quantized: bool) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import _C as bindings

    from export.formats.executorch.int8 import quantize
    from export.formats.executorch.program import count_delegation
    from export.formats.executorch.xnnpack import RECIPE

    torch.manual_seed(0)
    network, pictures = EveryKind().eval(), torch.rand(8, 3, 28, 28)
    program = torch.export.export(network, (pictures[:1],))
    rewrite(program)
    if quantized:
        program = torch.export.export(quantize(program, RECIPE, pictures.numpy()), (pictures[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    delegation = count_delegation(lowered.executorch_program, "xnnpack")
    assert (delegation.pieces, delegation.undelegated) == (1, {})
    method = bindings._load_program_from_buffer(lowered.buffer).load_method("forward")
    with torch.no_grad():
        expected = network(pictures)
    found = torch.cat([method.call((each.unsqueeze(0),))[0] for each in pictures])
    allowed = 0.1 * float(expected.std()) if quantized else 1e-5
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed)
