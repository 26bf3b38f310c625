"""Networks by name: only classifiers are offered, and each is tried on two images before it is used."""

from typing import Literal

import pytest
import torch
from torch import nn

from distill.config import ImageSettings
from distill.errors import UsageError
from distill.vision.models import MODELS, PublishedInput, build, builder, published_input, try_on_two_images
from distill.vision.preprocess import Preprocess


def sees(size_px: int, channels: Literal[1, 3] = 3) -> Preprocess:
    return ImageSettings(size_px=size_px).preprocess(channels)


@pytest.mark.parametrize(
    "name", ["torchvision:fcn_resnet50", "torchvision:retinanet_resnet50_fpn", "torchvision:r3d_18"]
)
def test_only_classifiers_are_offered(name: str) -> None:
    with pytest.raises(UsageError, match="torchvision has no classifier"):
        builder(name)


@pytest.mark.parametrize(
    ("name", "size_px", "message"),
    [
        (
            "timm:vit_tiny_patch16_224",
            8,
            r"fails on images of 8x8: .*It was made for 224 px: --set image\.size_px=224",
        ),
        ("torchvision:densenet121", 16, "fails on images of 16x16: RuntimeError"),
        ("torchvision:vit_b_16", 64, r"fails on images of 64x64"),
    ],
)
def test_a_network_that_cannot_take_the_images_is_refused_in_words(name: str, size_px: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        try_on_two_images(name, sees(size_px))


@pytest.mark.parametrize("name", ["torchvision:googlenet", "mobilenet_v3_small", "timm:ghostnet_100"])
def test_a_classifier_passes_and_leaves_the_random_state_alone(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    try_on_two_images(name, sees(64, channels=1))
    assert torch.equal(torch.rand(2), expected)


def test_googlenet_answers_with_logits_alone_in_train_mode() -> None:
    model = build("torchvision:googlenet", num_classes=3, preprocess=sees(64)).train()
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_what_is_no_classifier_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "map", lambda num_classes: nn.Conv2d(3, num_classes, 1))
    with pytest.raises(UsageError, match=r"map answers two images with a tensor \[2, 2, 16, 16\].*no image classifier"):
        try_on_two_images("map", sees(16))
    monkeypatch.setitem(MODELS, "broken", lambda num_classes: nn.Linear(-1, num_classes))
    with pytest.raises(UsageError, match="broken cannot be built for 2 classes"):
        try_on_two_images("broken", sees(16))


def test_every_library_says_what_its_networks_see() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert published_input("resnet18") == PublishedInput(224, *imagenet)
    assert published_input("torchvision:inception_v3") == PublishedInput(299, *imagenet, 299 / 342)
    assert published_input("timm:mobilevit_xxs") == PublishedInput(256, (0.0,) * 3, (1.0,) * 3, 0.9, "bicubic")
    assert published_input("timm:vit_tiny_patch16_224") == PublishedInput(224, (0.5,) * 3, (0.5,) * 3, 0.9, "bicubic")
    assert published_input("python:own:make") == PublishedInput(224, *imagenet)
