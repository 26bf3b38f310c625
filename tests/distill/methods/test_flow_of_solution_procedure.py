from typing import Literal

import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods.flow_of_solution_procedure import FlowOfSolutionProcedureConfig, products
from distill.taps import TapPairs
from tests.distill.methods.toy import SIZE_PX, dry, features, losses_of, network, samples

LABELS = torch.arange(6) % 3
IMAGES = torch.rand(6, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_equals_the_slow_numpy_twin(pooling: Literal["average", "max"]) -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(3, 2, 4, 3, generator=draw, dtype=torch.float64)
    second = torch.randn(3, 5, 2, 3, generator=draw, dtype=torch.float64)
    tiles = first.numpy().reshape(3, 2, 2, 2, 3)
    pooled = tiles.mean(axis=3) if pooling == "average" else tiles.max(axis=3)
    expected = [
        [[np.mean(one * two) for two in right] for one in left]
        for left, right in zip(pooled, second.numpy(), strict=True)
    ]
    assert products(first, second, pooling=pooling).numpy() == pytest.approx(np.array(expected), abs=1e-10)


def test_products_from_the_stem_on_are_compared_and_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(3)
    run = dry(FlowOfSolutionProcedureConfig(weight=2.0), [student], teacher, LABELS)
    assert run.students[0].places == ("stages.0.0", "stages.0", "stages.1", "stages.2")
    found = losses_of(run, [student], teacher, IMAGES, samples(LABELS))
    maps = []
    for model in (student, teacher):
        stem = model.network.stages[0][0]((IMAGES - model.mean) * model.inverse_std)  # type: ignore[index, operator, union-attr]
        maps.append([stem, *(features(model, IMAGES, stage) for stage in range(3))])
    expected = sum(
        (products(ours[n], ours[n + 1], pooling="average") - products(theirs[n], theirs[n + 1], pooling="average"))
        .square()
        .mean()
        .item()
        for ours, theirs in [maps]
        for n in range(3)
    )
    assert found["flow"].item() == pytest.approx(2 * expected, rel=1e-4)
    student.load_state_dict(teacher.state_dict())
    assert losses_of(run, [student], teacher, IMAGES, samples(LABELS))["flow"].item() == 0


def test_products_come_first_and_teach_the_trunk_alone() -> None:
    student = network(3)
    method = dry(FlowOfSolutionProcedureConfig(), [student], network(3), LABELS).method
    assert FlowOfSolutionProcedureConfig().weight == 1  # as RepDistiller's first stage; 50 times that diverges
    first, second = method.stages()
    assert (first.epochs, first.judged, second.epochs) == (30, False, None)
    names = [f"students.0.{name}" for name, _ in student.named_parameters()]
    assert [name for name in names if not first.trains(name)] == [name for name in names if ".head." in name]
    assert all(second.trains(name) for name in names)
    assert (
        len(dry(FlowOfSolutionProcedureConfig(first_epochs=None), [student], network(3), LABELS).method.stages()) == 1
    )


@pytest.mark.parametrize(
    ("config", "width", "message"),
    [
        (FlowOfSolutionProcedureConfig(), 8, "The student's have 4, 4, 8, 16, the teacher's 8, 8, 16, 32"),
        (
            FlowOfSolutionProcedureConfig(
                from_stem=False, taps=TapPairs(student=("stage-end:1",), teacher=("stage-end:1",))
            ),
            4,
            "two maps or more",
        ),
    ],
)
def test_networks_of_two_families_are_refused(config: FlowOfSolutionProcedureConfig, width: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dry(config, [network(3)], network(3, width=width), LABELS)
