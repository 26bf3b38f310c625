import json
import sys
from pathlib import Path

import pytest

from distill import terminal
from export import pool
from export.__main__ import app
from export.artifact.manifest import read_artifact

BROKEN_WORKER = (sys.executable, str(Path(__file__).with_name("broken_worker.py")))


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


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to start a worker fails the test."""
    monkeypatch.setattr(pool, "WORKER_COMMAND", ("/no/worker/may/start",))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "torchscript", "--precision", "int8"], "torchscript cannot be exported in int8"),
        (["--format", "tflite"], "unknown format 'tflite'"),
        (["--format", "onnx", "--precision", "fp23"], "did you mean fp32"),
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
    assert "python -m bench out/artifacts/tiny/* --device cpu" in err
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
    assert results["eager"]["failure"] is None
    assert results["eager"]["manifest"]["parity"]["verdict"] == "pass"
    assert results["onnx"]["failure"] == "the converter was ended by SIGSEGV"
    assert "exit code 0 before it was done" in results["coreml"]["failure"]
    assert results["torchscript"]["failure"] == "RuntimeError: unsupported operator aten::made_up"
    assert "second line" in Path(results["torchscript"]["log"]).read_text()
    assert "a converter's noise" in Path(results["onnx"]["log"]).read_text()
    assert "a converter's noise" not in err
    assert not (tmp_path / "onnx-fp32").exists()
    assert not list(tmp_path.glob(".*")), "a crashed worker's unfinished folder is removed"


def test_a_model_that_loses_too_much_ends_with_exit_code_1(
    tmp_path: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import evidence

    true_logits = evidence.eager_logits
    monkeypatch.setattr(evidence, "eager_logits", lambda *args: true_logits(*args)[:, ::-1])
    assert run(checkpoint_folder, "--format", "eager", "--precision", "fp32", "--out", tmp_path) == 1
    assert read_artifact(tmp_path / "eager-fp32").parity.verdict == "fail"
    assert "fail" in unframed(capsys.readouterr().err)
