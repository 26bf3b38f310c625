"""The networks of the CRD protocol are the published ones: parameters, multiplications, maps, where they are tapped."""

import pytest
import torch
from torch import Tensor, nn

from distill.vision.models import MODELS, build, published_input
from distill.vision.models.cifar import NETWORKS
from distill.vision.models.tap_points import HasTapPoints, Point
from distill.vision.models.walk import walk
from distill.vision.preprocess import Preprocess

THIN = "16@32 16@32 32@16 64@8 64"
WIDE = "32@32 64@32 128@16 256@8 256"
WRN_2 = "16@32 32@32 64@16 128@8 128"
WRN_4 = "16@32 64@32 128@16 256@8 256"
VGG = "64@32 128@16 256@8 512@4 512@4 512"
RESNET_18 = "64@32 64@32 128@16 256@8 512@4 512"

TABLE = [
    # name, parameters with 100 and 10 classes, convolutions, millions of multiplications at 32 px, stem … pooled
    ("resnet8", 83_892, 78_042, 9, 12.5, THIN),
    ("resnet14", 181_108, 175_258, 15, 26.7, THIN),
    ("resnet20", 278_324, 272_474, 21, 40.8, THIN),
    ("resnet32", 472_756, 466_906, 33, 69.1, THIN),
    ("resnet44", 667_188, 661_338, 45, 97.4, THIN),
    ("resnet56", 861_620, 855_770, 57, 125.8, THIN),
    ("resnet110", 1_736_564, 1_730_714, 111, 253.2, THIN),
    ("resnet8x4", 1_233_540, 1_210_410, 10, 177.1, WIDE),
    ("resnet32x4", 7_433_860, 7_410_730, 34, 1083.0, WIDE),
    ("wrn_16_1", 180_916, 175_066, 15, 26.7, THIN),
    ("wrn_40_1", 569_780, 563_930, 39, 83.3, THIN),
    ("wrn_16_2", 703_284, 691_674, 16, 101.1, WRN_2),
    ("wrn_40_2", 2_255_156, 2_243_546, 40, 327.6, WRN_2),
    ("wrn_16_4", 2_772_020, 2_748_890, 16, 392.6, WRN_4),
    ("wrn_28_4", 5_872_180, 5_849_050, 28, 845.6, WRN_4),
    ("shufflenet_v1_cifar", 949_258, 862_768, 49, 38.7, "24@32 240@16 480@8 960@4 960"),
    ("shufflenet_v2_cifar", 1_355_528, 1_263_278, 56, 44.5, "24@32 116@16 232@8 464@4 1024"),
    ("mobilenet_v2_half", 812_836, 697_546, 53, 6.5, "16@16 12@16 16@8 48@4 160@2 1280"),
    ("vgg8_bn", 3_965_028, 3_918_858, 5, 96.2, VGG),
    ("vgg11_bn", 9_277_284, 9_231_114, 8, 209.4, VGG),
    ("vgg13_bn", 9_462_180, 9_416_010, 10, 284.9, VGG),
    ("vgg16_bn", 14_774_436, 14_728_266, 13, 398.2, VGG),
    ("vgg19_bn", 20_086_692, 20_040_522, 16, 511.4, VGG),
    ("resnet18_cifar", 11_220_132, 11_173_962, 20, 555.5, RESNET_18),
    ("resnet34_cifar", 21_328_292, 21_282_122, 36, 1159.4, RESNET_18),
    ("resnet50_cifar", 23_705_252, 23_520_842, 53, 1298.0, "64@32 256@32 512@16 1024@8 2048@4 2048"),
]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_table_knows_every_network() -> None:
    assert [name for name, *_ in TABLE if name not in NETWORKS] == []
    assert len(TABLE) == len(NETWORKS)
    assert NETWORKS.keys() <= MODELS.keys()
    assert published_input("resnet8x4").size_px == 32


@pytest.mark.parametrize(("name", "large", "small", "convolutions", "millions", "points"), TABLE)
def test_parameters_multiplications_and_tap_points(
    name: str, large: int, small: int, convolutions: int, millions: float, points: str
) -> None:
    """On the meta device: nothing is computed."""
    with torch.device("meta"):
        network = NETWORKS[name](100)
        assert parameters(network) == large
        assert parameters(NETWORKS[name](10)) == small
    assert f"{small:,} parameters with 10 classes" in (NETWORKS[name].__doc__ or "")
    products: list[int] = []

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        per_output = module.weight[0].numel()
        products.append(output[0].numel() * per_output)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    shapes: dict[str, torch.Size] = {}
    assert isinstance(network, HasTapPoints)
    found = network.tap_points
    assert found.stem is not None
    assert found.pooled == "fc:input"
    for point in (found.stem, *found.stage_ends):
        shapes |= dict.fromkeys((point.post, point.pre))  # type: ignore[arg-type]
    handles = hook(network, shapes)
    network.eval()(torch.zeros(1, 3, 32, 32, device="meta"))
    for handle in handles:
        handle.remove()
    assert round(sum(products) / 1e6, 1) == millions
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == convolutions
    for side in ("post", "pre"):
        ends = [shapes[getattr(point, side)] for point in (found.stem, *found.stage_ends)]
        maps = [f"{shape[1]}@{shape[2]}" for shape in ends]
        assert " ".join([*maps, str(network.fc.in_features)]) == points  # type: ignore[union-attr]


def hook(network: nn.Module, shapes: dict[str, torch.Size]) -> list[torch.utils.hooks.RemovableHandle]:
    """Notes the shape of every place that is a key."""
    handles = []
    for place in shapes:
        module = network.get_submodule(place.removesuffix(":input"))
        if place.endswith(":input"):
            handles.append(
                module.register_forward_pre_hook(lambda _m, i, place=place: shapes.__setitem__(place, i[0].shape))
            )
        else:
            handles.append(
                module.register_forward_hook(lambda _m, _i, o, place=place: shapes.__setitem__(place, o.shape))
            )
    return handles


def read(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network in train mode, and everything that its modules took and gave in one call."""
    torch.manual_seed(0)
    network = NETWORKS[name](10)
    found: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        module.register_forward_pre_hook(lambda _m, i, path=path: found.__setitem__(f"{path}:input", i[0].clone()))
        module.register_forward_hook(lambda _m, _i, o, path=path: found.__setitem__(path, o.clone()))
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 32, 32))
    return network, found


@pytest.mark.parametrize("name", ["resnet8", "resnet50_cifar", "shufflenet_v1_cifar", "vgg8_bn", "wrn_16_1"])
def test_a_map_after_the_activation_is_the_rectified_one_before_it(name: str) -> None:
    network, found = read(name)
    for point in network.tap_points.blocks:  # type: ignore[union-attr]
        assert isinstance(point, Point)
        assert (found[point.pre] < 0).any()
        assert torch.equal(found[point.post], found[point.pre].relu())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 1 for norm in norms)


def test_a_wide_resnets_block_ends_behind_the_next_ones_normalisation_and_its_raw_sum_has_a_path() -> None:
    network, found = read("wrn_16_1")
    first, *_, last = network.tap_points.blocks  # type: ignore[union-attr]
    assert first == Point("stages.0.1.relu1", "stages.0.1.relu1:input")
    assert last == Point("relu1", "relu1:input")
    assert torch.equal(found["stages.0.0"], found["stages.0.1.bn1:input"])
    assert torch.equal(found["stages.2.1"], found["bn1:input"])
    assert (found["stages.0.0"] < 0).any()


def test_shufflenet_v2_is_shuffled_after_its_activation_and_half_rectified_before_it() -> None:
    _, found = read("shufflenet_v2_cifar")
    before, after = found["stages.1.3.relu:input"], found["stages.1.3"]
    passed, convolved = before.chunk(2, dim=1)
    assert (passed >= 0).all()
    assert (convolved < 0).any()
    assert torch.equal(after[:, 0::2], passed)
    assert torch.equal(after[:, 1::2], convolved.relu())


def test_a_linear_bottleneck_has_one_place_before_and_after() -> None:
    network, found = read("mobilenet_v2_half")
    assert all(point.pre == point.post for point in network.tap_points.blocks)  # type: ignore[union-attr]
    assert all((found[point.post] < 0).any() for point in network.tap_points.stage_ends)  # type: ignore[union-attr]


def test_a_network_may_be_shown_other_sizes() -> None:
    preprocess = Preprocess(size_px=48, channels=1, mean=(0.5,), std=(0.25,))
    for name in ("resnet8", "shufflenet_v2_cifar", "mobilenet_v2_half", "vgg8_bn"):
        assert build(name, num_classes=3, preprocess=preprocess).eval()(torch.rand(1, 1, 48, 48)).shape == (1, 3)


def test_walking_a_network_finds_the_points_that_it_names() -> None:
    """What is seen of a thin ResNet is what it says of itself."""
    network = NETWORKS["resnet14"](4)
    own = network.tap_points  # type: ignore[union-attr]
    seen = walk(network, size_px=32)
    assert [seen.before_activation(point.post) for point in own.blocks] == [point.pre for point in own.blocks]
