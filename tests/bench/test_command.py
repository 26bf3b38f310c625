import fcntl
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.__main__ import app
from bench.record import read_journal
from distill.terminal import run

ROOT = Path(__file__).resolve().parents[2]
BENCH = [sys.executable, "-m", "bench"]


def bench(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`; its paths are then those a user would see."""
    return subprocess.run(
        [*BENCH, *map(str, words)], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120
    )


def environment(folder: Path) -> dict[str, str]:
    """The lock lies in the test's own folder, so that no other bench on this machine is in its way."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "XDG_RUNTIME_DIR": str(folder)}


def flat(text: str) -> str:
    """Text without the line breaks and frame of the error panel."""
    return " ".join(text.replace("│", " ").split())


def test_artifacts_are_found_measured_written_and_reported(make_artifact, tmp_path):
    make_artifact("tiny")
    make_artifact("phone-only", format="coreml")
    done = bench("artifacts", "--batch", "1,8", "--out", "m.jsonl", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "m.jsonl"
    told = flat(done.stderr)
    assert "not measured: phone-only coreml fp32: needs macOS" in told
    assert "not measured: tiny onnx fp32 batch 8: it was exported for batch 1 and takes no other" in told
    assert "next: python -m bench report --measurements m.jsonl" in told
    (row,) = read_journal(tmp_path / "m.jsonl").measurements
    assert (row.subject.name, row.batch, len(row.samples_ms) >= 100) == ("tiny", 1, True)

    made = bench("report", "--measurements", "m.jsonl", "--out", "page.html", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == "page.html"
    assert "tiny" in (tmp_path / "page.html").read_text()


def test_the_default_folder_is_out_artifacts_and_json_is_one_document(make_artifact, tmp_path):
    make_artifact("tiny").parent.rename(tmp_path / "artifacts-moved")
    (tmp_path / "out").mkdir()
    (tmp_path / "artifacts-moved").rename(tmp_path / "out" / "artifacts")
    done = bench("--json", "--launches", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [row["subject"]["name"] for row in document["measurements"]] == ["tiny"]
    assert document["journal"] == "out/measurements.jsonl"
    assert len(read_journal(tmp_path / "out" / "measurements.jsonl").measurements) == 1


def test_a_broken_artifact_fails_the_command_and_not_the_others(make_artifact, tmp_path):
    make_artifact("tiny")
    broken = make_artifact("broken")
    (broken / "manifest.json").write_text("{")
    done = bench("artifacts", "--launches", "1", "--out", "m.jsonl", folder=tmp_path)
    assert done.returncode == 1
    assert "manifest.json is not valid JSON" in flat(done.stderr)
    assert [row.subject.name for row in read_journal(tmp_path / "m.jsonl").measurements] == ["tiny"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--device", "android", "--adb", "/no/adb"], "--adb names '/no/adb', which is not a program"),
        (["--device", "android", "--instrument", "stopwatch"], "there is no instrument 'stopwatch'"),
        (["--device", "android", "--sustained", "long"], "'long' is not a duration"),
        (["--device", "android", "--seed", "1"], "--seed is for this machine and has no effect on android"),
        (["--device", "android", "--data", "x"], "--data x: no picture is read without --accuracy N"),
        (["--l2", "cold"], "--l2 is for GPUs and has no effect on cpu"),
        (["--device", "abacus"], "There is no device 'abacus'. Devices of this version: cpu, android"),
        (["nowhere"], "nowhere does not exist. Make artifacts with: python -m export"),
        (["empty"], "empty holds no artifact: there is no manifest.json"),
        (["empty", "--serial", "x", "--launches", "5"], "--serial is for phones and has no effect on cpu"),
        (["empty", "--resume", "--batch", "1,x"], "--batch '1,x' is not a list of whole numbers above 0"),
        (["empty", "--batch", "1,x"], "--batch '1,x' is not a list of whole numbers above 0"),
        (["empty", "--batch", "0"], "--batch '0' is not a list of whole numbers above 0"),
        (["empty", "--threads", "4096"], "--threads 4096 is more than the"),
        (
            ["artifacts", "--batch", "8"],
            "nothing is left to measure. tiny onnx fp32 batch 8: it was exported",
        ),
        (["report", "--measurements", "none.jsonl"], "none.jsonl does not exist. Measure something first"),
        (["report", "--measurements", "empty.jsonl"], "there is no measurement to report"),
        (["--no-such-option"], "No such option"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_what_cannot_be_served_is_one_paragraph_and_exit_code_2(
    make_artifact, tmp_path, monkeypatch, capsys, words, expected
):
    make_artifact("tiny")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        run(app)
    told = flat(capsys.readouterr().err)
    assert ended.value.code == 2, told
    assert expected in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_rows_that_are_done(make_artifact, tmp_path):
    for name in ("one", "two", "three", "four"):
        make_artifact(name)
    journal = tmp_path / "m.jsonl"
    process = subprocess.Popen(
        [*BENCH, "artifacts", "--launches", "1", "--out", str(journal)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not journal.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, told
    rows = read_journal(journal)
    assert 1 <= len(rows.measurements) < 4
    assert rows.cut_lines == ()


def test_a_journal_with_a_cut_line_is_reported_without_it_and_says_so(make_measurement, tmp_path):
    line = make_measurement("kept").to_json(indent=None)
    (tmp_path / "m.jsonl").write_text(f"{line}\n{line[:300]}")
    done = bench("report", "--measurements", "m.jsonl", "--out", "page.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "m.jsonl line 2 was cut off" in flat(done.stderr)


def test_an_unwritable_journal_is_failed_work(make_artifact, tmp_path):
    make_artifact("tiny")
    (tmp_path / "file").touch()
    done = bench("artifacts", "--out", "file/m.jsonl", folder=tmp_path)
    assert done.returncode == 1
    assert "cannot write file/m.jsonl" in flat(done.stderr)


def test_a_bench_that_has_to_wait_names_the_other_one_and_measures_after_it(make_artifact, tmp_path):
    make_artifact("tiny")
    path = tmp_path / "pocket-distill-bench.lock"
    path.write_text("4711")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [*BENCH, "artifacts", "--launches", "1", "--out", "m.jsonl"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert waiting.stderr is not None
        said = iter(waiting.stderr.readline, "")
        assert any("another bench (process 4711) is measuring on this machine" in line for line in said)
        assert not (tmp_path / "m.jsonl").exists()
    _, rest = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, rest
    assert (tmp_path / "m.jsonl").is_file()


def test_resume_measures_what_is_missing_and_keeps_the_run_id(make_artifact, tmp_path):
    make_artifact("one")
    first = bench("artifacts", "--launches", "1", "--seed", "3", "--out", "m.jsonl", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    make_artifact("two")
    second = bench("artifacts", "--launches", "2", "--resume", "--out", "m.jsonl", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    one, two = read_journal(tmp_path / "m.jsonl").measurements
    assert (one.subject.name, one.seed, len(one.launches)) == ("one", 3, 1)
    assert (two.subject.name, len(two.launches)) == ("two", 2)
    assert one.run_id == two.run_id


@pytest.mark.parametrize("command", app.registered_commands, ids=lambda command: command.callback.__name__)
def test_every_command_takes_json(command):
    assert "as_json" in inspect.signature(command.callback).parameters
