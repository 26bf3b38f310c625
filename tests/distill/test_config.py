import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.__main__ import app
from distill.config import (
    Cosine,
    LibraryTeacher,
    OneCycle,
    RunConfig,
    Steps,
    TrainTeacher,
    differences,
    parse,
    read,
    with_overrides,
)
from distill.errors import UsageError
from distill.recipes import RECIPES, demo, folder_kd, recipe
from distill.studies import short_demo, short_depth, short_segmentation


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_the_way_through_its_own_json(name: str) -> None:
    config = recipe(name)
    assert parse(config.model_dump_json(), source="test") == config


@pytest.mark.parametrize(
    ("base", "settings", "judges", "compared"),
    [
        (short_demo, [], "accuracy", "accuracy"),
        (short_demo, ["training.judged_by=macro_f1"], "macro F1", "macro F1"),
        (short_segmentation, [], "mIoU", "mIoU"),
        (short_depth, [], "RMSE", "δ < 1.25"),
    ],
)
def test_runs_are_compared_by_what_judges_them_or_by_the_share_of_their_task(
    base: Callable[[], RunConfig], settings: list[str], judges: str, compared: str
) -> None:
    config = with_overrides(base(), settings)
    assert (config.measure.title, config.share.title) == (judges, compared)


def test_every_error_is_named_with_its_dotted_path_at_once() -> None:
    raw = demo().model_dump_json().replace('"epochs":24', '"epochs":0').replace('"alpha":0.9', '"alhpa":0.9')
    with pytest.raises(UsageError) as caught:
        parse(raw, source="my.json")
    assert "my.json" in str(caught.value)
    assert "training.epochs: input should be greater than or equal to 1 (found 0)" in str(caught.value)
    assert "alhpa: unknown key" in str(caught.value)


def test_overrides_reach_nested_keys_and_are_checked() -> None:
    changed = with_overrides(demo(), ["training.epochs=3", "method.temperature=7.5", "dataset.seed=4", "name=x"])
    assert (changed.training.epochs, changed.method.model_dump()["temperature"]) == (3, 7.5)
    assert changed.name == "x"


def test_setting_another_kind_drops_the_old_kinds_keys() -> None:
    changed = with_overrides(demo(), ["method.kind=scratch", "teacher=null"])
    assert changed.method.model_dump() == {"kind": "scratch"}
    assert changed.teacher is None


def test_optional_groups_begin_with_their_first_setting_in_any_order() -> None:
    library = ["teacher.kind=library", "teacher.model=resnet18", "teacher.weights=w.pth", "teacher.image.size_px=32"]
    for assignments in (library, library[::-1], [*library[1:], library[0]]):
        changed = with_overrides(demo(), assignments)
        assert isinstance(changed.teacher, LibraryTeacher)
        assert (changed.teacher.model, changed.teacher.weights, changed.teacher.image.size_px) == (
            "resnet18",
            "w.pth",
            32,
        )
    trained = with_overrides(demo(), ["teacher.image.size_px=96"]).teacher
    assert isinstance(trained, TrainTeacher)
    assert trained.image is not None
    assert trained.image.size_px == 96
    int8 = with_overrides(demo(), ["quantization_aware.from_run=out/runs/x"])
    assert int8.quantization_aware is not None


def test_a_text_stays_a_text() -> None:
    for text in ("2024", "true", "null", "1e3", "[x]"):
        folder = with_overrides(folder_kd(), [f"dataset.path={text}"]).dataset
        assert folder.model_dump()["path"] == text
    logits = ["teacher.kind=logits", "teacher.path=t.npy", 'teacher.class_names=["1", "2", "10"]']
    assert with_overrides(demo(), logits).model_dump()["teacher"]["class_names"] == ("1", "2", "10")
    assert with_overrides(folder_kd(), ["dataset.patients_csv=null"]).dataset.model_dump()["patients_csv"] is None


def test_student_is_another_name_of_training() -> None:
    assert with_overrides(demo(), ["student.weights=w.pth"]).training.weights == "w.pth"
    assert with_overrides(demo(), ["training.backbone_lr_factor=1.0"]).identity() == demo().identity()


def test_what_is_allowed_is_no_part_of_the_identity() -> None:
    assert with_overrides(demo(), ["allow_weak_teacher=true"]).identity() == demo().identity()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epocs=3", "training.epocs: unknown key"),
        ("training.epochs=many", "training.epochs: input should be a valid integer (found 'many')"),
        ("trainign.epochs=3", "there is no group 'trainign'"),
        ("teacher.imge.size_px=3", "no group 'teacher.imge'. Known here: kind, model, training, image"),
        ("epochs", "expected key=value"),
        ("method.kind=hinton", "method.kind: there is no 'hinton'; did you mean hinton_kd or fitnet? Known: "),
        ("dataset.train_patient=3", "--set: dataset.train_patient: unknown key (did you mean train_patients or "),
        ("training.optimizer.rate=3", "--set: training.optimizer.rate: unknown key"),
        ("seed=99999999999999999999", "seed: input should be less than 9223372036854775808"),
        (
            "teacher.model=" + os.fsdecode(b"caf\xe9"),
            "the name 'café' holds bytes that are no UTF-8. Rename the folder",
        ),
    ],
)
def test_a_bad_override_is_named(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_overrides(demo(), [assignment])
    assert message in str(caught.value)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)


def test_an_unknown_recipe_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean demo"):
        recipe("dmeo")


def test_identity_ignores_name_and_device_and_nothing_else() -> None:
    base = demo()
    assert with_overrides(base, ["name=other", "device=cpu"]).identity() == base.identity()
    assert with_overrides(base, ["seed=1"]).identity() != base.identity()
    assert with_overrides(base, ["teacher.training.epochs=9"]).identity() != base.identity()


def test_the_teacher_is_shared_by_students_that_differ() -> None:
    other = with_overrides(demo(), ["model=shufflenet_v2_x1_0", "seed=5", "training.epochs=3"])
    assert other.teacher_run() == demo().teacher_run()
    assert with_overrides(demo(), ["image.size_px=32"]).teacher_run().identity() != demo().teacher_run().identity()


def test_differences_are_listed_by_path() -> None:
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]


def test_the_cosine_rises_in_warm_up_and_ends_at_zero() -> None:
    cosine = Cosine(warmup_epochs=2.0)
    assert [cosine.factor(e, 10) for e in (0, 1, 2)] == [0, 0.5, 1]
    assert cosine.factor(6, 10) == pytest.approx(0.5)
    assert cosine.factor(10, 10) == pytest.approx(0)


def test_steps_fall_at_the_start_of_the_named_epochs() -> None:
    steps = Steps(epochs=(3, 5))
    assert [round(steps.factor(e, 9), 4) for e in (0, 2.99, 3, 4.9, 5, 8)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_one_cycle_rises_to_the_full_rate_and_falls_to_none() -> None:
    one_cycle = OneCycle(rise=0.25, start=0.1)
    assert one_cycle.factor(0, 8) == pytest.approx(0.1)
    assert one_cycle.factor(1, 8) == pytest.approx(0.55)
    assert one_cycle.factor(2, 8) == pytest.approx(1)
    assert one_cycle.factor(5, 8) == pytest.approx(0.5)
    assert one_cycle.factor(8, 8) == pytest.approx(0)


@pytest.mark.parametrize(
    "assignment",
    [
        "training.weight_averaging.decay=0.99",
        "training.clip_norm=1.0",
        "training.augment.kept_views=3",
        "teacher.training.clip_norm=1.0",
        "quantization_aware.from_run=here",
    ],
)
def test_a_later_setting_counts_in_the_identity_only_where_it_is_used(assignment: str) -> None:
    path = assignment.partition("=")[0]
    group = path if path.endswith(("clip_norm", "kept_views")) else path.rpartition(".")[0]
    used = with_overrides(short_demo(), [assignment])
    assert used.identity() != short_demo().identity()
    assert with_overrides(used, [f"{group}=null"]).identity() == short_demo().identity()


def test_a_run_is_shown_with_every_setting_and_runs_from_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "my.json"
    words = ["config", "demo", "--set", "training.epochs=5", "--out", str(file)]
    shown = CliRunner().invoke(app, [*words, "--json"])
    facts = json.loads(shown.stdout)
    written = parse(file.read_bytes(), source="my.json")
    assert facts["identity"] == written.identity()
    assert facts["preprocess"] == written.preprocess.model_dump(mode="json")
    assert (written.training.epochs, demo().training.epochs) == (5, 24)
    refused = CliRunner().invoke(app, ["config", "demo", "--set", "training.epochs=0"])
    assert isinstance(refused.exception, UsageError)
