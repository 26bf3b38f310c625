"""Students are timed before they are trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import app
from bench.compare.plan import judge, write_noise
from bench.record import read_journal
from bench.record.carried import CarriedRuntime, RuntimeBytes
from distill.terminal import run

ROOT = Path(__file__).resolve().parents[3]


def plan(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench", "plan", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("fields", "is_inside"),
    [
        ({"size_bytes": 3_000_000}, True),
        ({"size_bytes": 5_000_000}, False),
        ({"size_bytes": 3_000_000, "format": "eager"}, False),
        ({"size_bytes": 3_000_000, "samples_ms": (), "validity": "failed"}, False),
        ({"size_bytes": 3_000_000, "samples_ms": (9.0,) * 30}, False),
        ({"size_bytes": 3_000_000, "validity": "noisy"}, True),
    ],
)
def test_a_row_is_inside_if_it_keeps_every_limit_and_is_a_product(make_measurement, fields, is_inside):
    row = make_measurement(**{"samples_ms": (2.0,) * 30, **fields})
    assert judge(row, max_latency_ms=4, max_size_mb=4).is_inside is is_inside


CARRIED = RuntimeBytes(
    abi="arm64-v8a",
    runtimes={
        "onnx": CarriedRuntime(archive="a:onnx:1", size_bytes=2_000_000, weighed_in="app.apk"),
        "executorch": CarriedRuntime(archive="a:et:1", size_bytes=500_000, weighed_in="app.apk"),
    },
)


@pytest.mark.parametrize(
    ("format_name", "is_inside", "size_bytes"),
    [
        ("onnx", False, 5_000_000),
        ("executorch", True, 3_500_000),
        ("executorch-vulkan", True, 3_500_000),
        ("litert", False, 3_000_000),
    ],
)
def test_a_runtime_counts_with_its_model_and_one_that_was_not_weighed_keeps_no_limit(
    make_measurement, format_name: str, is_inside: bool, size_bytes: int
):
    row = make_measurement(format=format_name, samples_ms=(2.0,) * 30, size_bytes=3_000_000)
    judged = judge(row, max_latency_ms=4, max_size_mb=4, carried=CARRIED)
    assert (judged.is_inside, judged.size_bytes) == (is_inside, size_bytes)
    assert judge(row, max_latency_ms=4, max_size_mb=4).is_inside


def test_the_upper_end_of_the_interval_counts(make_measurement):
    samples = tuple(value for value in (1.9, 2.0, 2.1) for _ in range(30))
    row = make_measurement(samples_ms=samples, launch_counts=(30, 30, 30))
    across, inside, outside = (judge(row, max_latency_ms=limit, max_size_mb=None) for limit in (2.05, 3, 1))
    assert (across.is_inside, across.is_open) == (False, True)
    assert (inside.is_inside, inside.is_open) == (True, False)
    assert (outside.is_inside, outside.is_open) == (False, False)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_the_same_every_time(tmp_path, channels):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_noise(tmp_path / name, 8, channels)
    one, two = ([path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in ("one", "two"))
    assert one == two
    assert len(set(one)) == len(one)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--students", "a,,b"], "--students 'a,,b' is not a list of networks"),
        (["--students=-x"], "--students '-x' is not a list of networks"),
        (["--threads", "none"], "--threads 'none' is not a list of whole numbers"),
        (["--device", "abacus"], "There is no device 'abacus'"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_any_work(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "plan", "--max-latency-ms", "5", *words])
    with pytest.raises(SystemExit) as ended:
        run(app)
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ended.value.code == 2, told
    assert expected in told
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_untrained_student_is_exported_timed_and_named_and_is_never_chosen(tmp_path):
    words = ("--students", "mobilenet_v3_small", "--size", 32, "--format", "onnx", "--max-latency-ms", 1e6)
    done = plan(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mobilenet_v3_small\n"
    assert "python -m distill study demo-study --students mobilenet_v3_small" in done.stderr
    rows = read_journal(tmp_path / "out/plan/measurements.jsonl").measurements
    assert {(row.subject.format, row.subject.precision) for row in rows} == {("onnx", "fp32"), ("onnx", "int8")}
    assert {(row.subject.accuracy, row.subject.method) for row in rows} == {(None, None)}
    assert all(row.samples_ms for row in rows)

    outside = plan(*words[:-1], 1e-6, "--precision", "fp32", "--json", folder=tmp_path)
    assert outside.returncode == 1, outside.stderr
    document = json.loads(outside.stdout)
    assert (document["inside"], len(document["timed"])) == ([], 1)

    chosen = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "choose",
            "--max-latency-ms",
            "1e6",
            "--measurements",
            "out/plan/measurements.jsonl",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert chosen.returncode == 2
    assert "there is nothing to choose from" in chosen.stderr


@pytest.mark.slow
def test_an_untrained_student_of_depth_is_timed_and_its_own_study_named(tmp_path):
    words = ("--students", "lraspp_mobilenet_v3_small", "--size", 32, "--classes", 1, "--format", "onnx")
    done = plan(*words, "--precision", "fp32", "--max-latency-ms", 1e6, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "python -m distill study demo-depth-study --students lraspp_mobilenet_v3_small" in done.stderr
    (row,) = read_journal(tmp_path / "out/plan/measurements.jsonl").measurements
    assert (row.subject.task, row.subject.accuracy) == ("depth", None)
