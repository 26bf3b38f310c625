import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distill import terminal
from export.__main__ import app
from export.artifact.manifest import Delegation, read_artifact
from export.run import pool
from export.run.making import fall_back
from tests.conftest import MakeOnce

BROKEN_WORKER = (sys.executable, str(Path(__file__).with_name("broken_worker.py")))
NO_WORKER = ("/no/worker/may/start",)


def run(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def unframed(text: str) -> str:
    """An error panel as one line."""
    return " ".join(text.replace("│", " ").split())


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on any attempt to start a worker fails the test."""
    monkeypatch.setattr(pool, "WORKER_COMMAND", NO_WORKER)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to start a worker fails the test."""
    forbid_work(monkeypatch)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "torchscript", "--precision", "int8"], "torchscript cannot be exported in int8"),
        (["--format", "tflite"], "unknown format 'tflite'"),
        (["--format", "onnx", "--precision", "fp23"], "did you mean fp32"),
        (["--format", "onnx", "--precision", "palette4"], "onnx cannot be exported in palette4"),
        (["--batch", "zero"], "--batch 'zero': expected a number of images"),
        (["--temperature", "-1"], "expected a finite number above 0"),
        (["--temperature", "nan"], "expected a finite number above 0"),
        (["--calibration-folder", "no/such/folder"], "there is no such folder"),
        (["--recipe", "no/such/file"], "cannot read no/such/file"),
        (["--size", "64", "--mean", "0.5"], "--size, --mean: a checkpoint's card says this itself"),
        (["--model", "timm:resnet10t"], "name either a checkpoint, or a network of your own"),
        (["--jobs", "0"], "--jobs"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(checkpoint_folder, "--out", tmp_path / "out", *arguments) == 2
    assert message in unframed(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_work")
def test_a_folder_without_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "is not a checkpoint" in unframed(capsys.readouterr().err)


@pytest.mark.usefixtures("no_work")
def test_a_checkpoint_whose_weights_were_changed_is_refused(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in checkpoint_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() + (b"x" if file.suffix == ".safetensors" else b""))
    assert run(tmp_path, "--out", tmp_path / "out") == 2
    assert "does not match its card" in unframed(capsys.readouterr().err)


@pytest.mark.usefixtures("no_work")
def test_an_out_folder_that_cannot_be_written_is_found_before_any_work(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(checkpoint_folder, "--out", tmp_path / "file" / "out") == 1
    assert "cannot write into" in unframed(capsys.readouterr().err)


def test_the_journey_ends_with_a_table_and_the_next_command(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(checkpoint_folder.parent, "--format", "eager,torchscript", "--precision", "fp32") == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()) == Path("out/artifacts/tiny")
    assert "torchscript fp32" in err
    assert "100.00%" in err
    assert "python -m bench out/artifacts/tiny --device cpu" in err
    for format in ("eager", "torchscript"):
        assert read_artifact(Path("out/artifacts/tiny") / f"{format}-fp32").parity.verdict == "pass"
        assert Path(f"out/artifacts/tiny/{format}-fp32.log").is_file()
    assert "DeprecationWarning" in Path("out/artifacts/tiny/torchscript-fp32.log").read_text()


def test_broken_converters_cost_only_themselves(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WORKER_COMMAND", BROKEN_WORKER)
    monkeypatch.setenv("PLAN_onnx", "crash")
    monkeypatch.setenv("PLAN_coreml", "exit")
    monkeypatch.setenv("PLAN_torchscript", "raise")
    stale = tmp_path / "coreml-fp32"
    stale.mkdir()
    formats = "eager,torchscript,onnx,coreml"
    assert run(checkpoint_folder, "--format", formats, "--precision", "fp32", "--out", tmp_path, "--json") == 1
    out, err = capsys.readouterr()
    results = {result["format"]: result for result in json.loads(out)}
    assert list(results) == ["eager", "torchscript", "onnx", "coreml"]
    assert (results["eager"]["status"], results["eager"]["cause"]) == ("made", None)
    assert results["eager"]["manifest"]["parity"]["verdict"] == "pass"
    assert results["onnx"]["cause"] == "the converter was ended by SIGSEGV"
    assert "exit code 0 before it was done" in results["coreml"]["cause"]
    assert results["torchscript"]["cause"] == "RuntimeError: unsupported operator aten::made_up"
    assert "second line" in Path(results["torchscript"]["log"]).read_text()
    assert "a converter's noise" in Path(results["onnx"]["log"]).read_text()
    assert "a converter's noise" not in err
    assert not (tmp_path / "onnx-fp32").exists()
    assert not list(tmp_path.glob(".*")), "a crashed worker's unfinished folder is removed"


def test_after_nothing_was_made_the_next_step_is_not_the_bench(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WORKER_COMMAND", BROKEN_WORKER)
    monkeypatch.setenv("PLAN_torchscript", "raise")
    assert run(checkpoint_folder, "--format", "torchscript", "--precision", "fp32", "--out", tmp_path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing was made, so there is nothing to measure" in unframed(err)
    assert "python -m bench" not in err


@pytest.mark.usefixtures("no_work")
def test_a_setting_that_would_change_nothing_is_refused(
    tmp_path: Path, checkpoint_folder: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.json").write_text('{"calibrator": "mse"}')
    for option in (("--recipe", tmp_path / "recipe.json"), ("--calibration-folder", pictures)):
        assert run(checkpoint_folder, "--format", "eager", "--out", tmp_path / "out", *option) == 2
        assert f"{option[0]} has no effect" in unframed(capsys.readouterr().err)
    (tmp_path / "recipe.json").write_text('{"calibrator": "guess"}')
    assert run(checkpoint_folder, "--format", "onnx", "--recipe", tmp_path / "recipe.json") == 2
    assert "is not a quantization recipe: calibrator" in unframed(capsys.readouterr().err)


@pytest.fixture
def wrong_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager's logits with the classes in another order: no artifact can agree with them."""
    from export.proof import evidence

    true_logits = evidence.eager_logits
    monkeypatch.setattr(evidence, "eager_logits", lambda *args: true_logits(*args)[:, ::-1])


EAGER = ("--format", "eager", "--precision", "fp32")


@pytest.mark.usefixtures("wrong_eager")
def test_what_loses_too_much_is_refused_and_the_refusal_is_remembered(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (checkpoint_folder, *EAGER, "--out", tmp_path)
    assert run(*arguments) == 1
    told = unframed(capsys.readouterr().err)
    assert "refused: top-1 agreement" in told
    assert "accept the loss with --allow-loss" in told
    assert not (tmp_path / "eager-fp32").exists()
    assert (tmp_path / "eager-fp32.log").is_file()
    forbid_work(monkeypatch)
    assert run(*arguments, "--json") == 1
    (record,) = json.loads(capsys.readouterr().out)
    assert record["status"] == "refused"
    assert "refused before, and nothing has changed" in record["cause"]
    assert record["manifest"]["parity"]["verdict"] == "fail"


@pytest.mark.usefixtures("wrong_eager")
def test_an_allowed_loss_is_put_in_place_and_marked(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint_folder, *EAGER, "--out", tmp_path, "--allow-loss") == 0
    manifest = read_artifact(tmp_path / "eager-fp32")
    assert (manifest.parity.verdict, manifest.allowed_loss) == ("fail", True)
    assert "fails its limits, kept by --allow-loss: top-1 agreement" in unframed(capsys.readouterr().err)
    assert not list(tmp_path.glob("*.refused.json"))


@pytest.fixture
def exported(tmp_path: Path, checkpoint_folder: Path, make_once: MakeOnce) -> Path:
    """A copy of what `--format eager` has made once."""

    def export(out: Path) -> None:
        assert run(checkpoint_folder, "--format", "eager", "--out", out) == 0

    return shutil.copytree(make_once("eager", export), tmp_path / "out")


def test_a_second_run_makes_nothing_again_and_needs_no_torch(exported: Path, checkpoint_folder: Path) -> None:
    arguments = [str(checkpoint_folder), "--format", "eager", "--out", str(exported), "--json"]
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    code = (
        "import sys\nfrom distill import terminal\nfrom export.__main__ import app\n"
        "try: terminal.run(app)\nfinally: print([name for name in ('torch', 'onnx') if name in sys.modules])"
    )
    second = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    *records, modules = second.stdout.splitlines()
    assert [record["status"] for record in json.loads("".join(records))] == ["unchanged"]
    assert modules == "[]"
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == before


@pytest.mark.parametrize("change", ["force", "images", "temperature", "tampered"])
def test_what_has_changed_is_made_again(
    exported: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    arguments = [checkpoint_folder, "--format", "eager", "--out", exported, "--json"]
    first = read_artifact(exported / "eager-fp32").inputs_sha256
    options = {"force": ["--force"], "images": ["--parity-images", 20], "temperature": ["--temperature", 2.5]}
    if change == "tampered":
        (exported / "eager-fp32" / "card.json").write_text("{}")
    capsys.readouterr()
    assert run(*arguments, *options.get(change, [])) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["status"] == "made"
    second = read_artifact(exported / "eager-fp32")
    assert (second.inputs_sha256 == first) == (change in ("force", "tampered"))
    assert second.temperature == (2.5 if change == "temperature" else 1.0)


def test_a_graph_in_pieces_is_an_event_with_the_names_of_the_operations() -> None:
    told = fall_back(Delegation(backend="xnnpack", pieces=15, undelegated={"aten::mean.out": 2, "aten::cat.out": 1}))
    assert told == "xnnpack takes the graph in 15 piece(s); outside: aten::mean.out x2, aten::cat.out"
    assert "took nothing" in fall_back(Delegation(backend="xnnpack", pieces=0, undelegated={"aten::cat.out": 1}))
    assert not Delegation(backend="xnnpack", pieces=1, undelegated={}).fell_back
    assert not Delegation(backend="portable", pieces=0, undelegated={"aten::cat.out": 1}).fell_back
