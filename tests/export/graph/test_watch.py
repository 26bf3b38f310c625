"""Where a network reads its picture or draws random numbers: the line of its own code, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from export.graph.watch import draws_of_chance, reads_of_the_picture

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Branches(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if images.flatten(1).mean() > 0.9:
            images = -images
        return images.mean((1, 2, 3))


class TakesANumber(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / float(images.amax())


class Lists(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        order = sorted(range(3), key=images.mean((0, 2, 3)).tolist().__getitem__)
        return images[:, order]


class AsksShapesAndWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("steps", torch.tensor([2]))

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] > 4 and self.scale > 1:
            images = images * self.scale.item()
        for _ in range(int(self.steps[0])):
            images = images + 1
        return images


class Draws(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(images, 0.5) + torch.randn_like(images)


@pytest.mark.parametrize(
    ("network", "code"),
    [(Branches(), "if images.flatten(1)"), (TakesANumber(), "return images /"), (Lists(), "order =")],
)
def test_a_value_of_the_picture_that_python_sees_is_found(network: nn.Module, code: str) -> None:
    (place,) = reads_of_the_picture(network.eval(), IMAGES)
    assert (place.module, place.file) == (type(network).__name__, "test_watch.py")
    assert place.code.startswith(code)
    assert str(place).startswith(f"{place.module} in test_watch.py, line {place.line} (`{code}")


def test_shapes_and_weights_are_no_picture() -> None:
    assert reads_of_the_picture(AsksShapesAndWeights(), IMAGES) == []
    assert reads_of_the_picture(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(), IMAGES) == []


def test_chance_is_found_and_dropout_in_eval_mode_is_none() -> None:
    assert [place.module for place in draws_of_chance(Draws().eval(), IMAGES)] == ["Draws"]
    assert draws_of_chance(nn.Sequential(nn.Dropout(0.5), nn.Flatten()).eval(), IMAGES) == []
