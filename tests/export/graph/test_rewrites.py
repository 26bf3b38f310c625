"""Every rewrite computes the same bits: on the four students, and on networks made to mislead."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from distill.vision.models import ImageClassifier, build
from distill.vision.preprocess import Preprocess
from export.graph.pools import padded_pools
from export.graph.rewrites import rewrite

# ExecuTorch's modules, which constants are made with, warn of what they import.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STUDENTS = ("mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "ghostnet_100")
GREY = Preprocess(size_px=32, channels=1, mean=(0.3,), std=(0.2,))
DONE = {
    "mobilenet_v3_small": ("9 × hard sigmoid in parts",),
    "mobilenet_v3_large": ("8 × hard sigmoid in parts",),
    "shufflenet_v2_x1_0": ("13 × split as slices", "1 × mean that keeps its dimensions"),
    "ghostnet_100": ("32 × selection of everything left out", "7 × hard sigmoid in parts"),
}


def student(name: str) -> ImageClassifier:
    """Random weights, with batch statistics of random images so that activations have the size they have in use."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(name, num_classes=10, preprocess=GREY).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.rand(8, 1, 32, 32))
    return model.eval()


def images(count: int, channels: int = 1) -> Tensor:
    return torch.rand((count, channels, 32, 32), generator=torch.Generator().manual_seed(1))


def rewritten(model: nn.Module, example: Tensor) -> tuple[nn.Module, tuple[str, ...], Counter[str]]:
    """A program in which every number is to be the same bits, what was done, and how often it has each operation."""
    program = torch.export.export(model, (example,))
    done = rewrite(program)
    assert done.but_for_rounding == ()
    operations = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    return program.module(), done.exactly, operations


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_students_compute_the_same_bits(name: str, batch: int) -> None:
    model, pictures = student(name), images(batch)
    found, done, operations = rewritten(model, pictures)
    with torch.no_grad():
        assert torch.equal(found(pictures), model(pictures))
    assert done == DONE[name]
    assert not {"aten.chunk.default", "aten.alias.default", "aten.hardsigmoid.default"} & set(operations)


@pytest.mark.parametrize("name", STUDENTS)
def test_max_pools_compute_the_same_bits(name: str) -> None:
    model, pictures = student(name), images(2)
    with torch.no_grad():
        expected = model(pictures)
        found, done = padded_pools(model, pictures[:1])
        assert torch.equal(found(pictures), expected)
    assert done == (("1 × max pool after explicit zeros",) if name == "shufflenet_v2_x1_0" else ())


class Misleading(nn.Module):
    """Patterns that look like those rewritten and are something else."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        part = x[:, 1:3]
        rows = x.amax([1, 2])
        kept = x.mean([2, 3], keepdim=True)
        everything = x.mean()
        out_first, out_second = torch.chunk(x, 2, dim=1)
        return part.sum() + rows.sum() + kept.sum() + everything, out_first + 0 * out_second


class ReturnsWhatWouldBeRewritten(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first, second = torch.split(x, [1, 3], dim=1)
        return first, second, x.mean([2, 3]), nn.functional.hardsigmoid(x)


class Uneven(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, 3, dim=-1)
        return parts[0].sum() + parts[-1].sum() * 2 + torch.chunk(x, 5, dim=2)[3].sum()


@pytest.mark.parametrize(
    "network", [Misleading(), ReturnsWhatWouldBeRewritten(), Uneven()], ids=lambda n: type(n).__name__
)
def test_other_networks_compute_the_same_bits(network: nn.Module) -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    found, _, _ = rewritten(network, pictures)
    torch.testing.assert_close(found(pictures), network(pictures), rtol=0, atol=0)


PRODUCTS = "2 × matrix product of three dimensions"


class MixesHeads(nn.Module):
    """Attention whose heads are mixed by convolutions, over the last dimension or another one."""

    def __init__(self, dimension: int, *, mixed: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.dimension, self.mixed = dimension, mixed

    def forward(self, x: Tensor) -> Tensor:
        scores = x @ x.mT
        shares = (self.first(scores) * 2.0 if self.mixed else scores).softmax(self.dimension)
        return (self.second(shares) if self.mixed else shares) @ x


@pytest.mark.parametrize(
    ("network", "done"),
    [
        (MixesHeads(-1), ("1 × softmax over rows", "1 × matrix product of three dimensions")),
        (MixesHeads(3), ("1 × softmax over rows", "1 × matrix product of three dimensions")),
        (MixesHeads(2), ("1 × matrix product of three dimensions",)),
        (MixesHeads(-1, mixed=False), ("1 × matrix product of three dimensions",)),
    ],
)
def test_a_softmax_between_convolutions_is_over_three_dimensions(network: nn.Module, done: tuple[str, ...]) -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    found, told, _ = rewritten(network, pictures)
    assert told == done
    with torch.no_grad():
        assert torch.equal(found(pictures), network(pictures))


class Multiplies(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        of_three = x[:, 0] @ x[:, 1]
        broadcast = x @ x[:1, :1].mT
        return of_three.sum() + broadcast.sum() + (x @ x[0, 0]).sum() + (x.mT @ x).sum()


def test_only_products_of_equally_many_matrices_are_taken_as_they_are() -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    found, told, operations = rewritten(Multiplies(), pictures)
    assert told == ("4 × selection of one as slice", PRODUCTS)
    assert (operations["aten.bmm.default"], operations["aten.matmul.default"]) == (2, 2)
    assert torch.equal(found(pictures), Multiplies()(pictures))


class Unbinds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, _, third, last = x.unbind(1)
        row = x.permute(2, 0, 1, 3).unbind()[-2]
        return (first * third - last).sum() + row.exp().sum()


def test_parts_of_an_unbind_are_slices() -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    found, told, operations = rewritten(Unbinds(), pictures)
    assert told == ("2 × unbind as slices",)
    assert operations["aten.slice.Tensor"] == 4
    assert torch.equal(found(pictures), Unbinds()(pictures))


class Selects(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        whole = x[:, :, 1:2].expand(-1, -1, 1, -1)
        return x[:, -1].exp().sum() + (x.select(3, 2) * whole[:, :, 0, :]).sum()


def test_a_selection_of_one_is_a_slice_and_an_expansion_to_its_own_size_is_nothing() -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    found, told, operations = rewritten(Selects(), pictures)
    assert told == ("3 × selection of one as slice", "2 × selection of everything left out")
    assert not {"aten.select.int", "aten.expand.default"} & set(operations)
    assert torch.equal(found(pictures), Selects()(pictures))


class Attends(nn.Module):
    """Attention of four heads among seven queries and keys."""

    def __init__(self, mask: Tensor | None = None, **settings: object) -> None:
        super().__init__()
        self.mask, self.settings = nn.Buffer(mask) if mask is not None else None, settings

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x.exp(), x[..., :3], self.mask, **self.settings)


BIAS = torch.linspace(-2, 2, 4 * 7 * 7).reshape(1, 4, 7, 7)


@pytest.mark.parametrize(
    "network",
    [Attends(), Attends(scale=0.3), Attends(BIAS), Attends(BIAS[0, 0], scale=2.0)],
    ids=["plain", "scaled", "a bias of each head", "one bias"],
)
def test_attention_in_parts_answers_alike_but_for_the_rounding(network: nn.Module) -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    network = nn.Sequential(network, nn.Flatten(1))
    program = torch.export.export(network, (pictures,))
    done = rewrite(program)
    assert done.but_for_rounding == ("1 × attention in parts",)
    assert done.notes == ("rewritten but for the rounding alike: 1 × attention in parts",)
    operations = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.scaled_dot_product_attention.default" not in operations
    torch.testing.assert_close(program.module()(pictures), network(pictures), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [Attends(is_causal=True), Attends(BIAS > 0), Attends(dropout_p=0.5)],
    ids=["causal", "a mask of yes and no", "dropout"],
)
def test_attention_of_another_kind_is_left_whole(network: nn.Module) -> None:
    pictures = torch.randn((2, 4, 7, 7), generator=torch.Generator().manual_seed(2))
    program = torch.export.export(nn.Sequential(network, nn.Flatten(1)), (pictures,))
    assert rewrite(program).but_for_rounding == ()
    whole = torch.export.export(nn.Sequential(Attends(), nn.Flatten(1)), (pictures,))
    assert rewrite(whole, "coreml").notes == ()


def test_what_is_returned_is_left_as_it_is() -> None:
    _, done, _ = rewritten(ReturnsWhatWouldBeRewritten(), torch.randn(2, 4, 7, 7))
    assert done == ()


def test_a_network_without_the_patterns_is_not_touched() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    program = torch.export.export(network, (torch.randn(1, 3, 8, 8),))
    before = str(program.graph)
    assert rewrite(program).notes == ()
    assert str(program.graph) == before


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(3, 2, 1)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
    ],
    ids=["values below zero", "no padding", "ceil mode"],
)
def test_a_pool_that_needs_its_own_padding_keeps_it(network: nn.Module) -> None:
    pictures = images(2)
    expected = network(pictures)
    found, done = padded_pools(network, pictures)
    assert done == ()
    assert torch.equal(found(pictures), expected)


def test_a_dilated_and_uneven_pool_computes_the_same_bits() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d((3, 5), 2, (1, 2), dilation=(2, 1)))
    pictures = images(2)
    with torch.no_grad():
        expected = network(pictures)
        found, done = padded_pools(network, pictures)
        assert done == ("1 × max pool after explicit zeros",)
        assert torch.equal(found(pictures), expected)


class SharesItsPool(nn.Module):
    """One pool in two places, of which only one sees nothing below zero."""

    def __init__(self, *, second_relu: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.again = self.pool
        self.second_relu = second_relu

    def forward(self, images: Tensor) -> Tensor:
        x = self.second(self.pool(self.first(images).relu()))
        return self.again(x.relu() if self.second_relu else x - 9).mean((2, 3))


@pytest.mark.parametrize(("second_relu", "done"), [(False, ()), (True, ("2 × max pool after explicit zeros",))])
def test_a_pool_that_two_places_share_is_rewritten_only_if_both_agree(second_relu: bool, done: tuple[str, ...]) -> None:
    network, pictures = SharesItsPool(second_relu=second_relu).eval(), images(2)
    with torch.no_grad():
        expected = network(pictures)
        found, told = padded_pools(network, pictures)
        assert told == done
        assert torch.equal(found(pictures), expected)
