"""The command: real conversions in a process of their own, a diagnosis that can be read back, a recipe that applies."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distill import checkpoint as checkpoints
from distill import terminal
from distill.checkpoint import Checkpoint
from distill.config import with_overrides
from distill.recipes import folder_scratch
from distill.train import train
from export.__main__ import app
from export.artifact.manifest import read_artifact
from export.doctor import process
from export.doctor.record import DIAGNOSIS_FILE, Diagnosis, FormatDiagnosis, Step
from export.doctor.verdict import advice, conclude
from export.doctor.words import recipe_in_words, step_line
from export.doctor.worker import BrokeDown, Chosen
from export.quantize.recipe import QuantizationRecipe
from tests.conftest import MakeOnce
from tests.export.conftest import MakeArtifact

IMAGES = ("--images", 60, "--calibration-images", 40)
CRASH = (sys.executable, "-c", "import os; os.abort()")
HANG = (sys.executable, "-c", "import time; time.sleep(3600)")
HOARD = (sys.executable, "-c", "hoard = b'x' * 400_000_000; import time; time.sleep(3600)")


def run(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def unframed(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module")
def examined(make_once: MakeOnce, checkpoint_folder: Path) -> tuple[Path, Diagnosis]:
    """All steps of ONNX, once."""

    def examine(folder: Path) -> None:
        code = run("doctor", checkpoint_folder, "--format", "onnx", "--all", *IMAGES, "--out", folder / "tiny")
        assert code == (0 if Diagnosis.read(folder / "tiny" / DIAGNOSIS_FILE).formats[0].chosen else 1)

    out = make_once("doctor", examine) / "tiny"
    return out, Diagnosis.read(out / DIAGNOSIS_FILE)


def test_every_step_is_measured_and_kept(examined: tuple[Path, Diagnosis], checkpoint: Checkpoint) -> None:
    out, found = examined
    assert found.checkpoint_sha256 == checkpoint.card.weights_sha256
    assert found.hold_out.num_images == 60
    assert found.num_calibration == 40
    (onnx,) = found.formats
    assert [step.name for step in onnx.steps] == ["per-channel", "calibrators", "float-layers", "weight-corrections"]
    for step in onnx.steps:
        for trial in step.trials:
            assert trial.recipe.chosen_on == found.hold_out
            assert trial.size_share < 1
            assert trial.quality is not None
            assert trial.eager_quality is not None
            assert trial.quality_kept == pytest.approx(trial.quality / trial.eager_quality)
            assert trial.speed.interval[0] <= trial.speed.ratio <= trial.speed.interval[1]
            assert trial.meets_limits == (trial.quality_kept >= 0.99 and trial.top1_agreement >= 0.97)
    in_float = onnx.steps[2].trials[-1]
    assert set(in_float.recipe.float_layers) <= {layer.layer for layer in found.layers}
    assert in_float.size_bytes > onnx.steps[0].chosen.size_bytes
    for name in ("sensitivity.png", "sensitivity.svg", "onnx.log"):
        assert (out / name).stat().st_size > 0


def test_the_export_command_of_the_diagnosis_makes_what_was_measured(
    examined: tuple[Path, Diagnosis], tmp_path: Path
) -> None:
    """The tiny network is robust, so there is a scheme; validation images were not chosen on."""
    out, found = examined
    (onnx,) = found.formats
    assert onnx.chosen is not None
    assert onnx.export_command is not None
    assert onnx.recipe_file is not None
    assert QuantizationRecipe.model_validate_json((out / onnx.recipe_file).read_bytes()) == onnx.chosen.recipe
    words = onnx.export_command.split()
    assert words[:3] == ["python", "-m", "export"]
    run(*words[3:], "--out", tmp_path, "--allow-loss")
    manifest = read_artifact(tmp_path / "onnx-int8")
    assert manifest.recipe == json.loads(onnx.chosen.recipe.model_dump_json())
    assert manifest.recipe["chosen_on"] == json.loads(found.hold_out.model_dump_json())
    assert manifest.size_bytes == onnx.chosen.size_bytes
    assert manifest.parity == onnx.reported


def test_a_model_whose_pictures_were_moved_is_examined_where_they_lie_now(
    picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """Equal pictures leave doubt at so few of them, so the worker asks for more of the validation images."""
    pictures = picture_folder(per_class=30)
    settings = [f"dataset.path={pictures}", "model=resnet8", "image.size_px=32", "training.epochs=1"]
    train(with_overrides(folder_scratch(), [*settings, "training.batch_size=20"]), tmp_path / "run")
    pictures.rename(tmp_path / "moved")
    examination = ("doctor", tmp_path / "run", "--format", "onnx", "--images", 20, "--calibration-images", 20)
    assert run(*examination, "--out", tmp_path / "out") == 2
    run(*examination, "--data", tmp_path / "moved", "--out", tmp_path / "out")
    (onnx,) = Diagnosis.read(tmp_path / "out" / DIAGNOSIS_FILE).formats
    assert onnx.outcome != "failed", onnx.reason
    assert onnx.steps


def test_a_recipe_with_corrections_goes_through_the_export(
    checkpoint_folder: Path, artifact: MakeArtifact, tmp_path: Path
) -> None:
    recipe = QuantizationRecipe(calibrator="mse", equalise=True, correct_bias=True)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    both = ("--format", "onnx", "--precision", "int8,fp32", "--calibration-images", 40, "--allow-loss")
    assert run(checkpoint_folder, *both, "--recipe", tmp_path / "recipe.json", "--out", tmp_path) == 0

    def content(folder: Path) -> bytes:
        return (folder / read_artifact(folder).file("model")).read_bytes()

    manifest = read_artifact(tmp_path / "onnx-int8")
    assert manifest.recipe is not None
    assert manifest.recipe["correct_bias"] is True
    assert manifest.parity.accuracy is not None
    assert manifest.parity.accuracy > 0.8
    assert content(tmp_path / "onnx-int8") != content(artifact("onnx", "int8")[0])
    assert content(tmp_path / "onnx-fp32") == content(artifact("onnx", "fp32")[0])


def test_a_toolchain_that_crashes_is_a_verdict(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "COMMAND", CRASH)
    code = run("doctor", checkpoint_folder, "--format", "onnx,litert", *IMAGES, "--out", tmp_path, "--json")
    assert code == 1
    found = Diagnosis.from_json(capsys.readouterr().out, source="stdout")
    assert [each.format for each in found.formats] == ["onnx", "litert"]
    for each in found.formats:
        assert each.outcome == "failed"
        assert each.reason == "the converter was ended by SIGABRT"
        assert each.recipe_file is None
    assert found.layers


@pytest.mark.parametrize(
    ("behaviour", "limit", "reason"),
    [
        (HANG, ["--timeout", "1"], "ended at its time limit of 1 s; raise it with --timeout 2"),
        (HOARD, ["--memory-gib", "0.2"], "ended at its memory limit: it held "),
    ],
)
def test_a_toolchain_beyond_its_limits_is_ended_and_the_rest_goes_on(
    checkpoint_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    behaviour: tuple[str, ...],
    limit: list[str],
    reason: str,
) -> None:
    monkeypatch.setattr(process, "COMMAND", behaviour)
    code = run("doctor", checkpoint_folder, "--format", "onnx,litert", *IMAGES, *limit, "--out", tmp_path, "--json")
    assert code == 1
    found = Diagnosis.from_json(capsys.readouterr().out, source="stdout")
    assert [(each.format, each.outcome) for each in found.formats] == [("onnx", "failed"), ("litert", "failed")]
    assert all(reason in each.reason for each in found.formats), found.formats


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "coreml"], "the doctor does not examine coreml"),
        (["--format", "torchscript"], "torchscript cannot be exported in int8"),
        (["--format", "onx"], "did you mean onnx"),
        (["--min-relative-accuracy", "1.5"], "--min-relative-accuracy"),
        (["--calibration-images", "119"], "leave 1 besides the 119 to calibrate with"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run("doctor", checkpoint_folder, "--out", tmp_path / "out", *arguments) == 2
    assert message in unframed(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_data_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = checkpoint.card
    checkpoints.save(
        tmp_path,
        checkpoint.model,
        name=card.model,
        class_names=card.class_names,
        preprocess=card.preprocess,
        training=None,
    )
    assert run("doctor", tmp_path) == 2
    assert "names no training data" in unframed(capsys.readouterr().err)


def test_what_loses_too_much_is_said_with_numbers_and_a_way_out(
    examined: tuple[Path, Diagnosis], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (onnx,) = examined[1].formats
    steps = tuple(failing(step) for step in onnx.steps)
    (tmp_path / "onnx.recipe.json").write_text("left from an earlier run")
    found = conclude("onnx", steps, Chosen(trial=None, reported=None), tmp_path, ["python", "-m", "export", "RUN"])
    assert found.outcome == "loses-too-much"
    assert "no scheme keeps the model; the best" in found.reason
    assert not (tmp_path / "onnx.recipe.json").exists()
    assert advice(checkpoint.card, tmp_path, [found]) == ()
    (tmp_path / "config.json").write_text("{}")
    card = checkpoint.card.model_copy(update={"model": "mobilenet_v3_small"})
    tuning, friendly = advice(card, tmp_path, [found])
    assert f"python -m distill run {tmp_path}/config.json --set quantization_aware.from_run={tmp_path}" in tuning
    assert "--set model=mobilenet_v3_small_relu" in friendly
    assert advice(card, tmp_path, examined[1].formats) == () or onnx.outcome == "not-faster"


def test_a_diagnosis_of_version_1_is_read_as_one_of_a_classifier(examined: tuple[Path, Diagnosis]) -> None:
    _, found = examined
    old = json.loads(found.to_json())

    def older(trial: dict[str, object]) -> None:
        del trial["kept_interval"]
        for name in ("quality", "eager_quality", "quality_kept"):
            trial[name.replace("quality", "accuracy")] = trial.pop(name)

    for of_format in old["formats"]:
        for trial in [each for step in of_format["steps"] for each in step["trials"]] + [of_format["chosen"]]:
            if trial is not None:
                older(trial)
    old["min_accuracy_kept"] = old.pop("min_quality_kept")
    del old["task"]
    read = Diagnosis.from_json(json.dumps(old | {"schema_version": 1}), source="old")
    assert (read.task, read.min_quality_kept) == ("classification", 0.99)
    one, other = read.formats[0].steps[0].chosen, found.formats[0].steps[0].chosen
    assert one == other.model_copy(update={"kept_interval": None})


def test_a_failure_keeps_the_steps_before_it(examined: tuple[Path, Diagnosis], tmp_path: Path) -> None:
    steps = examined[1].formats[0].steps[:1]
    found = conclude("onnx", steps, BrokeDown(cause="the disk is full"), tmp_path, ["python"])
    assert (found.outcome, found.reason, found.steps) == ("failed", "the disk is full", steps)
    assert isinstance(found, FormatDiagnosis)


def test_steps_in_words(examined: tuple[Path, Diagnosis]) -> None:
    first, second = examined[1].formats[0].steps[:2]
    line = step_line("onnx", second, first.chosen)
    gained = second.chosen.top1_agreement - first.chosen.top1_agreement
    assert f"({gained * 100:+.1f} points)" in line
    assert "4 tried" in line
    recipe = QuantizationRecipe(
        calibrator="percentile", percentile=99.9, float_layers=("a", "b"), equalise=True, correct_bias=True
    )
    assert recipe_in_words(recipe) == "percentile 99.9, 2 layers in float, equalised, bias corrected"


def failing(step: Step) -> Step:
    trials = tuple(trial.model_copy(update={"meets_limits": False}) for trial in step.trials)
    return step.model_copy(update={"trials": trials})
