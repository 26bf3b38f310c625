import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from distill.config import with_overrides
from distill.errors import UsageError
from distill.methods import AnyMethod, Needs, Outputs, Stepper
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.fitnet import FitNetConfig, HintsFirst
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.scratch import Scratch, ScratchConfig
from distill.methods.similarity_preserving import SimilarityPreservingConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig
from distill.recipes import demo
from distill.taps import TapPairs
from distill.training.batches import Batch
from distill.training.step import Step
from tests.distill.methods.toy import SIZE_PX, built, dry, losses_of, network, samples

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
    overhaul = {"method": {"kind": "overhaul_feature_distillation", "teacher_statistics": "batch"}}
    assert config_of(weighted({"method": {"kind": "scratch"}}, overhaul)).needs.teacher_statistics == "batch"


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


def test_parts_that_tap_read_their_own_places_of_all_that_are_tapped() -> None:
    sum_config = WeightedSumConfig(
        parts=(
            Part(method=FitNetConfig(taps=TapPairs(student=("stages.0",), teacher=("stages.1",)))),
            Part(method=SimilarityPreservingConfig(), weight=2.0),
            Part(method=HintonKDConfig()),
        )
    )
    assert sum_config.needs.teacher == "taps"
    images, labels = torch.rand(6, 1, SIZE_PX, SIZE_PX), torch.arange(6) % 3
    student, teacher = network(3), network(3, width=8)
    found: dict[str, torch.Tensor] = {}
    for config, weight in ((sum_config, 1.0), *((part.method, part.weight) for part in sum_config.parts)):
        torch.manual_seed(0)  # of adapters
        run = dry(config, [student], teacher, labels)
        losses = losses_of(run, [student], teacher, images, samples(labels))
        found |= {name: weight * loss for name, loss in losses.items() if "." in name}
        for name, loss in losses.items():
            if "." not in name:
                assert found[f"{config.kind}.{name}"].item() == pytest.approx(weight * loss.item(), rel=1e-5)
    assert len(found) == 6
    assert run.students == ()


def test_a_part_with_stages_or_steps_of_its_own_is_refused() -> None:
    first = FitNetConfig(hints_first=HintsFirst(hint_epochs=1))
    config = WeightedSumConfig(parts=(Part(method=first), Part(method=HintonKDConfig())))
    with pytest.raises(UsageError, match=r"fitnet goes through stages \(hints, distillation\)"):
        dry(config, [network(3)], network(3), torch.arange(3))

    class Searching(Scratch):
        def stepper(self, plain: Step, held_back: Iterator[Batch] | None) -> Stepper:
            return plain

    config = WeightedSumConfig(parts=(Part(method=ScratchConfig()), Part(method=HintonKDConfig())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScratchConfig, "build", lambda self, _setting: Searching(self))
        with pytest.raises(UsageError, match="scratch takes its steps itself"):
            built(config)


def test_a_part_that_holds_images_back_is_refused() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScratchConfig, "needs", Needs(teacher="none", held_back=0.2))
        with pytest.raises(ValueError, match="scratch cannot be part of a sum: it holds training images back"):
            WeightedSumConfig(parts=(Part(method=ScratchConfig()), Part(method=HintonKDConfig())))
