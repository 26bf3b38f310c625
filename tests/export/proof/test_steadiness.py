"""Networks that answer by chance or by their neighbours are refused by name, before any work."""

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UsageError
from distill.vision.models import ImageClassifier
from distill.vision.preprocess import Preprocess
from export.proof.steadiness import require_steady

PREPROCESS = Preprocess(size_px=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images).mean((2, 3)))


class Drops(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.stem(images).mean((2, 3)), 0.5))


class StaysInTraining(Tiny):
    def train(self, mode: bool = True) -> "StaysInTraining":
        super().train(mode)
        self.stem[1].train(True)
        return self


class CentresTheBatch(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0, keepdim=True))


def ask(network: nn.Module, images: np.ndarray = IMAGES) -> None:
    require_steady(ImageClassifier(network, PREPROCESS).eval(), images, PREPROCESS, name="own:net")


def test_a_steady_network_passes() -> None:
    ask(Tiny())
    ask(Tiny(), IMAGES[:1])


def test_chance_is_named_with_the_line_that_draws_it() -> None:
    with pytest.raises(
        UsageError, match=r"own:net answers by chance.*Drops in test_steadiness.py, line \d+ \(`return s"
    ):
        ask(Drops())


@pytest.mark.parametrize("count", [1, 3])
def test_neighbours_are_named_with_the_module_in_training_mode(count: int) -> None:
    with pytest.raises(UsageError, match=r"answers by its neighbours.*in training mode are network.stem.1"):
        ask(StaysInTraining(), IMAGES[:count])
    with pytest.raises(
        UsageError, match="answers by its neighbours: a picture gets other logits alone than in a batch"
    ):
        ask(CentresTheBatch())
