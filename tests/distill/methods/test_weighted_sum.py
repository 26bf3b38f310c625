import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods import AnyMethod, Needs, Outputs
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.recipes import demo
from tests.distill.methods.toy import built, samples

Draw = Callable[..., torch.Tensor]
LABELS = torch.arange(7) % 4


def weighted(*parts: dict[str, Any]) -> list[str]:
    return ["method.kind=weighted_sum", f"method.parts={json.dumps(parts)}"]


SUM = weighted(
    {"method": {"kind": "scratch"}, "weight": 0.3},
    {"method": {"kind": "decoupled_kd", "warmup_epochs": 4}, "weight": 2.0},
    {"method": {"kind": "curriculum_temperature", "alpha": 1.0}},
)


def config_of(assignments: list[str] = SUM) -> AnyMethod:
    return with_overrides(demo(), assignments).method


def test_every_loss_is_the_parts_own_times_its_weight(logits: Draw) -> None:
    student, teacher = Outputs(logits(7, 4, seed=0)), Outputs(logits(7, 4, seed=1))
    method = built(config_of())
    parts = {
        "scratch": (0.3, built(ScratchConfig())),
        "decoupled_kd": (2.0, built(DecoupledKDConfig(warmup_epochs=4))),
        "curriculum_temperature": (1.0, built(CurriculumTemperatureConfig(alpha=1.0))),
    }
    method.start_epoch(2)
    expected = {}
    for kind, (weight, part) in parts.items():
        part.start_epoch(2)
        for name, loss in part((student,), teacher, samples(LABELS)).items():
            expected[f"{kind}.{name}"] = weight * loss.item()
    found = method((student,), teacher, samples(LABELS))
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, abs=1e-10)


def test_what_a_part_trains_and_reports_is_the_sums() -> None:
    method = built(config_of())
    assert [name for name, _ in method.named_parameters()] == ["parts.curriculum_temperature.theta"]
    groups = [group for group in method.parameter_groups() if group["params"]]
    assert [group["weight_decay"] for group in groups] == [0.0]
    method.start_epoch(10)
    assert method.scalars() == {
        "curriculum_temperature.temperature": pytest.approx(15.62, abs=1e-2),
        "curriculum_temperature.lambda": pytest.approx(1.0),
    }


def test_the_sum_asks_for_what_any_part_asks_for() -> None:
    assert config_of().needs == Needs(teacher="logits")
    larger = weighted({"method": {"kind": "scratch"}}, {"method": {"kind": "cross_quality_kd"}})
    assert config_of(larger).needs == Needs(teacher="logits", larger_teacher_view=True)
    assert config_of(weighted({"method": {"kind": "scratch"}}, {"method": {"kind": "hinton_kd"}})).needs.students == 1


def test_a_part_is_set_by_its_place_in_the_list() -> None:
    config = with_overrides(demo(), [*SUM, "method.parts.1.weight=0.5", "method.parts.2.method.schedule=linear"]).method
    assert isinstance(config, WeightedSumConfig)
    assert [part.weight for part in config.parts] == [0.3, 0.5, 1.0]
    assert config.parts[2].method == CurriculumTemperatureConfig(alpha=1.0, schedule="linear")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (weighted({"method": {"kind": "scratch"}}), "at least 2 items"),
        (weighted({"method": {"kind": "scratch"}}, {"method": {"kind": "deep_mutual_learning"}}), "trains a cohort"),
        (
            weighted(
                {"method": {"kind": "scratch"}}, {"method": {"kind": "weighted_sum", "parts": json.loads(SUM[1][13:])}}
            ),
            "it is a sum itself; list its parts instead",
        ),
        (
            weighted({"method": {"kind": "hinton_kd"}}, {"method": {"kind": "hinton_kd", "temperature": 8.0}}),
            "hinton_kd stands in the sum more than once",
        ),
        (weighted({"method": {"kind": "scratch"}, "weight": 0.0}, {"method": {"kind": "hinton_kd"}}), "greater than 0"),
        (weighted({"method": {"kind": "scratch"}}, {"method": {"kind": "magic"}}), "magic"),
        ([*SUM, "method.parts.3.weight=1.0"], r"there is no group 'method.parts.3'. Known here: 0, 1, 2"),
        ([*SUM, "method.parts.first.weight=1.0"], "there is no group 'method.parts.first'"),
        ([*SUM, "method.parts.7=1.0"], r"method.parts has 3 entries, counted from 0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(assignments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_overrides(demo(), assignments)


def test_a_sum_of_sums_built_in_python_is_refused_too() -> None:
    parts = (Part(method=ScratchConfig()), Part(method=DecoupledKDConfig()))
    with pytest.raises(ValueError, match="it is a sum itself"):
        WeightedSumConfig(parts=(Part(method=WeightedSumConfig(parts=parts)), Part(method=ScratchConfig())))
