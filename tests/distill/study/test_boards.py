"""The grids of the boards: what is compared with what, and at which places of which teacher."""

from collections.abc import Sequence
from typing import Any

import pytest

from distill.config import RunConfig, with_overrides
from distill.errors import UsageError
from distill.methods import METHODS
from distill.methods.flow_of_solution_procedure import FlowOfSolutionProcedureConfig
from distill.methods.overhaul_feature_distillation import OverhaulFeatureDistillationConfig
from distill.recipes import cifar_kd
from distill.studies import study_recipe
from distill.study.boards import (
    PAIRS,
    STUDENTS_OF_HINTS,
    STUDENTS_OF_PAIRS,
    fits,
    pairs,
    small_cifar,
    stage_centres,
)
from distill.study.run import Cell
from distill.vision.models import builder


def cells(name: str, *settings: str, students: Sequence[str] | None = None) -> list[Cell]:
    recipe = study_recipe(name)
    base = with_overrides(recipe.base(), list(settings))
    return list(recipe.grid(name, base, students or recipe.students, 1).cells)


def teacher_of(config: RunConfig) -> str:
    teacher: Any = config.teacher
    return teacher.model


def test_every_pair_of_the_paper_has_every_method_that_looks_inside() -> None:
    grid = cells("feature-study")
    inside = {kind for kind, config in METHODS.items() if config.family in ("features", "relations")}
    inside = {kind for kind in inside if "classification" in METHODS[kind]().needs.tasks}
    inside -= {"distpro", "distpro_search", "learning_what_and_where"}  # search, partly on images held back
    for teacher, student in PAIRS:
        of_pair = [cell for cell in grid if cell.group == f"{student} from {teacher}"]
        assert {teacher_of(cell.config) for cell in of_pair if cell.config.teacher} == {teacher}
        left_out = inside - {cell.config.method.kind for cell in of_pair}
        foreign = {"flow_of_solution_procedure", "overhaul_feature_distillation"}
        assert left_out == (foreign if student == "shufflenet_v1_cifar" else set())
        searched = [cell for cell in of_pair if cell.config.hints is not None]
        assert len(searched) == 4
        metrics = {cell.config.hints.metric for cell in searched if cell.config.hints}
        assert metrics == {"cka" if teacher == "resnet110" else "gcd"}


@pytest.mark.parametrize("name", ["feature-study", "demo-feature-study", "demo-hint-study"])
def test_all_cells_of_a_student_see_the_same_for_as_long(name: str) -> None:
    by_student: dict[str, set[str]] = {}
    for cell in cells(name):
        by_student.setdefault(cell.config.model, set()).add(cell.config.training.model_dump_json())
    assert {len(settings) for settings in by_student.values()} == {1}


def test_hints_are_compared_with_the_same_system_at_its_conventional_places() -> None:
    grid = cells("hint-study")
    for group in {cell.group for cell in grid}:
        of_group = {cell.technique: cell for cell in grid if cell.group == group}
        for cell in of_group.values():
            if cell.config.hints is None:
                continue
            partner = of_group[str(cell.baseline)]
            same = cell.config.model_copy(update={"hints": None})
            assert same == partner.config
            assert cell.question is not None
            assert cell.config.hints.activation == ("pre" if str(group).endswith("before activations") else "post")
    longer = {cell.config.training.epochs for cell in grid if str(cell.group).endswith("before activations")}
    assert longer == {350}
    (steps,) = {
        cell.config.training.schedule.epochs  # type: ignore[union-attr]
        for cell in grid
        if cell.config.training.epochs == 350
    }
    assert steps == (200, 250, 300)


def test_the_systems_are_the_papers() -> None:
    demo = cells("demo-hint-study")
    before = [cell for cell in demo if str(cell.group).endswith("before activations")]
    systems = {cell.technique.removesuffix(", searched hints") for cell in before if "searched" in cell.technique}
    assert systems == {f"{hint} + {logit}" for hint in ("FitNet", "AT", "VID") for logit in ("KD", "SKD")}
    positions = [cell.technique for cell in before if cell.question == "positions"]
    assert len(positions) == 5
    after = {cell.technique for cell in demo if str(cell.group).endswith("after activations")}
    assert after >= {f"{system}, searched hints" for system in ("AT + KD", "WSL + AT", "AFD")}


def test_a_teacher_of_ones_own_teaches_every_student() -> None:
    assert {teacher_of(run) for run, _, _ in pairs(cifar_kd(), STUDENTS_OF_PAIRS, PAIRS)} == {t for t, _ in PAIRS}
    own = with_overrides(cifar_kd(), ["teacher.model=resnet56"])
    found = [(teacher, student) for _, teacher, student in pairs(own, STUDENTS_OF_PAIRS, PAIRS)]
    assert found == [("resnet56", student) for student in STUDENTS_OF_PAIRS]
    brought = with_overrides(cifar_kd(), ["teacher.kind=checkpoint", "teacher.path=runs/mine"])
    assert [teacher for _, teacher, _ in pairs(brought, ["resnet8"], PAIRS)] == ["mine"]
    with pytest.raises(UsageError, match="this base has none"):
        list(pairs(with_overrides(cifar_kd(), ["teacher=null"]), ["resnet8"], PAIRS))


def test_light_students_learn_at_the_protocols_lower_rate() -> None:
    rates = {student: run.training.optimizer.lr for run, _, student in pairs(cifar_kd(), STUDENTS_OF_HINTS, PAIRS)}
    assert rates.pop("shufflenet_v1_cifar") == pytest.approx(0.01)
    assert {*rates.values()} == {0.05}


def test_what_needs_equal_maps_is_left_out_where_they_differ() -> None:
    flow, overhaul = FlowOfSolutionProcedureConfig(), OverhaulFeatureDistillationConfig()
    for teacher, student, of_flow in (
        ("resnet110", "resnet20", True),
        ("wrn_40_2", "wrn_16_2", True),
        ("wrn_40_2", "wrn_16_1", False),
        ("resnet32x4", "resnet8x4", True),
        ("resnet32x4", "resnet8", False),
        ("resnet32x4", "shufflenet_v1_cifar", False),
    ):
        assert fits(flow, teacher, student) == of_flow
    assert fits(overhaul, "resnet32x4", "resnet8x4")
    assert not fits(overhaul, "resnet32x4", "shufflenet_v1_cifar")


def test_centres_of_stages_are_those_of_the_network() -> None:
    assert stage_centres("resnet110") == ("block:9:pre", "block:27:pre", "block:45:pre")
    assert stage_centres("resnet20") == ("block:2:pre", "block:5:pre", "block:8:pre")
    assert stage_centres("resnet32x4") == ("block:3:pre", "block:8:pre", "block:13:pre")
    assert stage_centres("wrn_40_2") is None
    network: Any = builder("resnet20")(2)
    assert len(network.tap_points.blocks) == 9


def test_the_small_protocol_lowers_the_rate_after_the_same_shares() -> None:
    small, full = small_cifar(), cifar_kd()
    for ours, theirs in ((small.training, full.training),):
        steps, long = ours.schedule.epochs, theirs.schedule.epochs  # type: ignore[union-attr]
        assert [step / ours.epochs for step in steps] == pytest.approx([step / theirs.epochs for step in long], abs=0.1)
