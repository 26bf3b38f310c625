"""A network whose layers can be made sensitive on purpose without changing what it computes."""

import copy

import pytest
import torch
from torch import nn

from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess

PREPROCESS = Preprocess.model_validate({"size_px": 16, "channels": 3, "mean": (0.5,) * 3, "std": (0.25,) * 3})
LOUD = 512.0


def block(inputs: int, outputs: int, kernel: int, *, groups: int = 1, activation: nn.Module | None = None) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), activation or nn.ReLU())


class Chain(nn.Module):
    """Stem, then expand - depthwise - project with ReLU between, then a hard-swish block, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 8, 3, activation=nn.Hardswish())
        self.expand = block(8, 16, 1)
        self.depthwise = block(16, 16, 3, groups=16)
        self.project = block(16, 8, 1, activation=nn.Hardswish())
        self.classifier = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.project(self.depthwise(self.expand(self.stem(images))))
        return self.classifier(features.mean((2, 3)))


def settle(model: nn.Module) -> None:
    """Statistics and factors of batch normalisation as after some training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 0.5 + torch.rand(module.num_features, generator=generator)
            module.bias.data = 0.3 * torch.randn(module.num_features, generator=generator)
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.rand(64, 3, 16, 16, generator=generator))
    model.eval()


@pytest.fixture
def model() -> ImageClassifier:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    classifier = ImageClassifier(Chain(), PREPROCESS)
    settle(classifier)
    return classifier.requires_grad_(False)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def loud_model(model: ImageClassifier) -> ImageClassifier:
    """The same answers, but one channel between `expand` and `depthwise` is 512 times as large, and read as softly."""
    loud = copy.deepcopy(model)
    network = loud.network
    network.expand[1].weight.data[3] *= LOUD
    network.expand[1].bias.data[3] *= LOUD
    network.depthwise[0].weight.data[3] /= LOUD
    return loud
