from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from distill.errors import UsageError
from distill.methods import AnyMethod
from distill.methods.distpro import DistProConfig
from distill.methods.distpro_search import DistProSearch, DistProSearchConfig
from distill.methods.learning_what_and_where import LearningWhatAndWhereConfig
from distill.methods.method import Outputs
from distill.methods.review_kd import ReviewKDConfig, hierarchical_context_loss
from distill.process.pathways import Distances, Grid, Pathway
from distill.process.transforms import PlaceAttention, TransformName, transform
from distill.taps import TapPairs
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.distill.methods.toy import dry, losses_of, network, samples, teacher_for

LABELS = torch.arange(6) % 3


def distances(grid: Grid) -> Distances:
    method = dry(DistProSearchConfig(grid=grid), [network(3)], teacher_for("", 3), LABELS).method
    assert isinstance(method, DistProSearch)
    return method.distances


def test_three_stages_and_three_transforms_are_27_pathways_and_the_releases_grid_has_10_pairs() -> None:
    ways = distances(Grid()).pathways
    assert len(ways) == len(set(ways)) == 27
    assert ways[0] == Pathway(teacher=1, student=1, transform="two_convolutions")
    assert ways[-1] == Pathway(teacher=3, student=3, transform="rectified")
    released = distances(Grid(stem=True, pairs="lower_to_higher", transforms=("rectified",)))
    assert released.ours == ["stages.0.0", "stages.0.1:input", "stages.1.1:input", "stages.2.1:input"]
    pairs = [(way.teacher, way.student) for way in released.pathways]
    assert pairs == [(i, j) for i in range(1, 5) for j in range(i, 5)]


@pytest.mark.parametrize("name", get_args(TransformName))
@pytest.mark.parametrize("student", [(3, 7, 7), (6, 4, 5), (4, 1, 1)])
def test_every_transform_gives_the_shape_of_the_teachers_map_and_all_of_it_learns(
    name: TransformName, student: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    change = transform(name, torch.Size(student), torch.Size((5, 4, 3)))
    found = change(torch.randn(2, *student))
    assert found.shape == (2, 5, 4, 3)
    found.square().mean().backward()
    assert all(parameter.grad is not None for parameter in change.parameters())
    assert any(isinstance(module, PlaceAttention) for module in change.modules())
    convolutions = sum(isinstance(module, nn.Conv2d) for module in change)  # type: ignore[arg-type]
    assert convolutions == {"two_convolutions": 2, "three_convolutions": 3, "rectified": 3, "tokens": 2}[name]


def test_a_distance_is_the_context_loss_behind_its_transform_and_others_are_not_computed() -> None:
    torch.manual_seed(0)
    whole = distances(Grid(transforms=("two_convolutions", "rectified")))
    generator = torch.Generator().manual_seed(1)
    sizes = [(4, 8), (8, 4), (16, 2)]
    student, teacher = (
        {
            place: torch.randn(3, width * channels, side, side, generator=generator)
            for place, (channels, side) in zip(places, sizes, strict=True)
        }
        for places, width in ((whole.ours, 1), (whole.theirs, 2))
    )
    said = Outputs(torch.zeros(3, 3), student), Outputs(torch.zeros(3, 3), teacher)
    called: list[int] = []
    for number, change in enumerate(whole.transforms):
        change.register_forward_hook(lambda *_, number=number: called.append(number))
    found = whole.eval()(*said, [1, 9])
    assert called == [1, 9]
    for value, number in zip(found, (1, 9), strict=True):
        way = whole.pathways[number]
        change = whole.transforms[number]
        ours, theirs = student[whole.ours[way.student - 1]], teacher[whole.theirs[way.teacher - 1]]
        assert value.item() == pytest.approx(hierarchical_context_loss(change(ours), theirs).item(), rel=1e-6)
    assert whole(*said).shape == (18,)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(taps=TapPairs(student=("stages.0",), teacher=("stages.0", "stages.1"))), "two or more levels .* 2 .* 1"),
        (
            Grid(
                taps=TapPairs(student=("stages.0", "stages.1"), teacher=("stages.0", "stages.1", "stages.2")),
                pairs="lower_to_higher",
            ),
            "levels by their number; the student has 2 .* the teacher 3",
        ),
        (Grid(taps=TapPairs(student=("head", "stages.0"), teacher=("nowhere", "stages.0"))), "no module 'nowhere'"),
    ],
)
def test_networks_without_these_levels_are_refused(grid: Grid, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        distances(grid)


@pytest.mark.parametrize("kind", ["review_kd", "distpro", "learning_what_and_where"])
def test_blocks_of_two_transformers_are_levels_whose_tokens_are_maps(kind: str) -> None:
    preprocess = Preprocess(size_px=48, channels=1, mean=(0.5,), std=(0.5,))
    torch.manual_seed(0)
    student, teacher = (build("timm:test_vit", num_classes=3, preprocess=preprocess) for _ in range(2))
    blocks = TapPairs(student=("block:2", "block:4", "block:6"), teacher=("block:1", "block:3", "block:5"))
    configs: dict[str, AnyMethod] = {
        "review_kd": ReviewKDConfig(taps=blocks),
        "distpro": DistProConfig(grid=Grid(taps=blocks, transforms=("tokens",)), mode="equally_weighted"),
        "learning_what_and_where": LearningWhatAndWhereConfig(taps=blocks),
    }
    run = dry(configs[kind], [student], teacher.eval(), LABELS, size_px=48)
    losses = losses_of(run, [student], teacher, torch.rand(6, 1, 48, 48), samples(LABELS))
    torch.stack(list(losses.values())).sum().backward()
    blocks_of_student = student.network.get_submodule("blocks")
    assert all(parameter.grad is not None for parameter in blocks_of_student.parameters())
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_transform_is_named_once() -> None:
    with pytest.raises(ValidationError, match="names one twice"):
        Grid(transforms=("tokens", "tokens"))
