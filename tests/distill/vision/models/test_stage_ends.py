"""Stage ends of the networks people use, at 1/4, 1/8, 1/16 and 1/32 of the picture."""

import pytest
import torch
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.models import MODELS, builder
from distill.vision.models.cifar import NETWORKS
from distill.vision.models.stage_ends import stage_ends

PX = 64


def sizes(network: nn.Module, paths: tuple[str, ...]) -> list[int]:
    """Sides of the maps that these modules give for a picture of PX."""
    found: dict[str, Tensor] = {}
    for path in paths:
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, path=path: found.__setitem__(path, output)
        )
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, PX, PX))
    assert all(found[path].shape[2] == found[path].shape[3] for path in paths)
    return [found[path].shape[2] for path in paths]


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in MODELS if name not in NETWORKS and name != "deit_tiny"),
        "torchvision:efficientnet_b0",
        "torchvision:densenet121",
        "torchvision:convnext_tiny",
        "torchvision:regnet_y_400mf",
        "torchvision:mobilenet_v2",
        "timm:test_convnext",
        "timm:test_resnet",
        "timm:mobilenetv3_small_100",
    ],
)
def test_stages_end_at_halved_sizes_down_to_a_thirty_second(name: str) -> None:
    network = builder(name, size_px=PX)(4)
    found = sizes(network, stage_ends(network))
    expected = [PX // 4, PX // 8, PX // 16, PX // 32]
    assert found == {"shufflenet_v2_x1_0": expected[1:], "shvit_s1": [PX // 16, PX // 32, PX // 64]}.get(name, expected)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", "layer4")),
        ("mobilenet_v3_small", ("features.1", "features.3", "features.8", "features.11")),
        ("ghostnet_100", ("blocks.1", "blocks.3", "blocks.5", "blocks.7")),
        ("torchvision:vgg11_bn", ("features.13", "features.20", "features.27")),
        ("timm:vgg11_bn", ("features.13", "features.20", "features.27")),
    ],
)
def test_the_last_block_ends_a_stage_and_not_what_only_pools_or_prepares_classifying(
    name: str, paths: tuple[str, ...]
) -> None:
    assert stage_ends(builder(name)(4)) == paths


@pytest.mark.parametrize("name", ["deit_tiny", "torchvision:vit_b_16", "torchvision:swin_t"])
def test_a_network_without_shrinking_maps_is_refused_in_words(name: str) -> None:
    with pytest.raises(UsageError, match="has no stage ends: maps"):
        stage_ends(builder(name)(4))


def test_looking_for_stages_leaves_modes_and_statistics_alone() -> None:
    network = builder("mobilenet_v3_small")(4)
    network.get_submodule("features.2").eval()
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    stage_ends(network)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
