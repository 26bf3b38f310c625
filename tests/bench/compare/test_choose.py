"""The commands that read a journal: compare, history, choose."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import app
from bench.record import Device, append
from bench.record.carried import CarriedRuntime, RuntimeBytes
from distill import terminal
from distill.contract import sha256_of_file
from distill.terminal import run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """bench(*words) -> (exit code, stdout, stderr in one line), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.console, "width", 1000)  # no path is broken, however long

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run(app)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, " ".join(told.err.replace("│", " ").split())

    return call


@pytest.fixture
def write(make_measurement, tmp_path):
    """write(journal, name, latency_ms, **fields): append one well-known row."""

    def append_row(journal, name, latency_ms, **fields):
        samples = tuple(latency_ms * (1 + 0.001 * (turn % 7)) for turn in range(60))
        append(tmp_path / journal, make_measurement(name, samples_ms=samples, launch_counts=(20, 20, 20), **fields))

    return append_row


def test_two_journals_are_compared_and_a_slow_down_beyond_the_limit_fails(bench, write):
    write("a.jsonl", "net", 2.0)
    write("b.jsonl", "net", 2.2)
    code, out, told = bench("compare", "a.jsonl", "b.jsonl")
    assert (code, out) == (0, "slower\n")
    assert "1.100" in told
    code, out, told = bench("compare", "a.jsonl", "b.jsonl", "--max-slowdown", "5%")
    assert code == 1
    assert "slower by more than 5 %: net onnx fp32" in told
    assert bench("compare", "a.jsonl", "b.jsonl", "--max-slowdown", "50%")[0] == 0
    assert bench("compare", "b.jsonl", "a.jsonl", "--max-slowdown", "0%")[0] == 0


def test_runs_of_one_journal_are_named_by_their_beginning_latest_and_previous(bench, write):
    for run_id, latency_ms in (("abc1", 1.0), ("abd2", 2.0), ("ffff", 4.0)):
        write("out/measurements.jsonl", "net", latency_ms, run_id=run_id)
    for words, ratio in ((("@abc", "@latest"), 4.0), (("@previous", "out/measurements.jsonl@ffff"), 2.0)):
        code, out, _ = bench("compare", *words, "--json")
        assert code == 0
        (pair,) = json.loads(out)["pairs"]
        assert pair["ratio"] == pytest.approx(ratio)
        assert pair["verdict"] == "slower"
    assert "has 2 runs that begin with 'ab'" in bench("compare", "@ab", "@latest")[2]
    assert "has no run 'zzz'. Its newest runs: ffff" in bench("compare", "@zzz", "@latest")[2]
    assert "has no run ''" in bench("compare", "@", "@latest")[2]


def test_a_noisy_row_is_marked_and_an_unlike_one_named_beside_the_pairs(bench, write):
    write("a.jsonl", "net", 2.0)
    write("a.jsonl", "other", 2.0)
    write("b.jsonl", "net", 2.0, validity="noisy")
    write("b.jsonl", "other", 2.0, threads=2)
    code, out, told = bench("compare", "a.jsonl", "b.jsonl")
    assert (code, out) == (0, "no difference shown\n")
    assert "valid, noisy" in told
    assert "not compared: other onnx fp32, batch 1, 1 thread: unlike conditions: threads: 1 in A, 2 in B" in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none.jsonl", "a.jsonl"], "none.jsonl is no journal. Name a file, one run of it as JOURNAL@RUN"),
        (["none.jsonl@latest", "a.jsonl"], "none.jsonl does not exist"),
        (["empty.jsonl", "a.jsonl"], "empty.jsonl holds no measurement"),
        (["folder", "a.jsonl"], "folder is no journal"),
        (["hostile.jsonl", "a.jsonl"], "hostile.jsonl line 1 has schema version None"),
        (["a.jsonl", "c.jsonl"], "no row of c.jsonl can be held against one of a.jsonl. net onnx fp32"),
        (["a.jsonl@previous", "a.jsonl"], "a.jsonl holds one run only"),
        (["a.jsonl", "a.jsonl", "--max-slowdown", "0.05"], "--max-slowdown '0.05' is not a percentage"),
        (["a.jsonl", "a.jsonl", "--max-slowdown", "nan%"], "--max-slowdown 'nan%' is not a percentage"),
        (["a.jsonl", "a.jsonl", "--max-slowdown=-5%"], "--max-slowdown '-5%' is not a percentage"),
        (["a.jsonl"], "Missing argument 'B'"),
    ],
)
def test_what_cannot_be_compared_is_one_paragraph_and_exit_code_2(bench, write, tmp_path, words, expected):
    write("a.jsonl", "net", 2.0)
    write("c.jsonl", "net", 2.0, batch=8)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "hostile.jsonl").write_text('["[red]", {"schema_version": 2}]\n')
    code, out, told = bench("compare", *words)
    assert (code, out) == (2, "")
    assert expected in told


def test_history_finds_by_words_by_artifact_and_names_what_there_is(bench, write, make_artifact, tmp_path):
    artifact = make_artifact("net")
    journal = "out/measurements.jsonl"
    write(journal, "net", 1.0, manifest_sha256="older", utc_time="2026-01-01T00:00:00+00:00")
    write(journal, "net", 2.0, manifest_sha256="newer", utc_time="2026-01-02T00:00:00+00:00")
    write(journal, "other", 2.0)
    code, _, told = bench("history", "ONNX net")
    assert code == 0
    assert "▁█" in told
    assert "2.000 [" in told
    assert "other" not in told
    assert json.loads(bench("history", artifact, "--json")[1])[0]["moments"][1]["to_first"]["value"] == pytest.approx(2)
    assert len(json.loads(bench("history", "--json")[1])) == 2
    code, _, told = bench("history", "teapot")
    assert code == 2
    assert "holds nothing of 'teapot'. It holds: net onnx, other onnx" in told
    assert "manifest.json" in bench("history", tmp_path)[2]


def test_names_that_look_like_markup_are_shown_as_they_are(bench, write):
    for day in ("01", "02"):
        write("a.jsonl", "[red]net[/]", 1.0, utc_time=f"2026-01-{day}T00:00:00+00:00")
    assert "[red]net[/]" in bench("history", "--measurements", "a.jsonl")[2]
    assert "[red]net[/]" in bench("compare", "a.jsonl", "a.jsonl")[2]
    assert "[red]net[/]" in bench("choose", "--max-latency-ms", 5, "--measurements", "a.jsonl")[2]


def test_choose_names_the_winner_why_and_the_next_step(bench, write, make_artifact, tmp_path):
    make_artifact("small").parent.rename(tmp_path / "moved")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "moved").rename(tmp_path / "out" / "artifacts")
    sha256 = sha256_of_file(tmp_path / "out/artifacts/small/manifest.json")
    journal = "out/measurements.jsonl"
    write(journal, "small", 1.0, accuracy=0.85, manifest_sha256=sha256)
    write(journal, "large", 4.0, accuracy=0.95)
    code, out, told = bench("choose", "--max-latency-ms", "2")
    assert (code, out) == (0, "out/artifacts/small\n")
    assert "winner: small onnx fp32, 1 of 2 are inside it is the most accurate inside the budget" in told
    assert "against the most accurate of all, large onnx fp32: accuracy -10.00 points" in told
    assert "next: python -m export bundle out/artifacts/small, then make app" in told
    code, out, told = bench("choose", "--max-latency-ms", "9")
    assert (code, out) == (0, "large onnx fp32\n")
    assert "its artifact is not in out/artifacts" in told
    code, out, _ = bench("choose", "--max-latency-ms", "9", "--artifacts", "out/artifacts", "--json")
    document = json.loads(out)
    assert (code, document["winner"]["name"], document["winner_folder"]) == (0, "small", "out/artifacts/small")


def test_models_for_masks_are_chosen_by_the_miou_and_never_among_those_for_depth(bench, write, tmp_path):
    for name, latency_ms, miou in (("small", 1.0, 0.6), ("large", 4.0, 0.9)):
        write("m.jsonl", name, latency_ms, accuracy=miou, task="segmentation")
    words = ("choose", "--max-latency-ms", "2", "--measurements", "m.jsonl")
    code, out, told = bench(*words)
    assert (code, out) == (0, "small onnx fp32\n")
    assert "it is the best by mIoU inside the budget" in told
    assert "against the best by mIoU of all, large onnx fp32: mIoU -30.00 points" in told
    assert "relative mIoU: to the best by mIoU candidate, because its teacher was not measured" in told
    assert "mIoU %" in told
    assert "ccura" not in told
    assert json.loads(bench(*words, "--json")[1])["measure"] == "miou"
    write("m.jsonl", "room", 1.0, task="depth")
    code, out, told = bench(*words)
    assert (code, out) == (2, "")
    assert "models for several tasks, which are not to be mixed: depth, segmentation. Name the folder" in told


def test_where_every_row_is_noisy_there_is_a_winner_and_it_is_marked(bench, write):
    write("m.jsonl", "small", 1.0, validity="noisy")
    write("m.jsonl", "large", 4.0, validity="drifting")
    words = ("choose", "--max-latency-ms", "9", "--measurements", "m.jsonl")
    code, out, told = bench(*words)
    assert (code, out) == (0, "small onnx fp32\n")
    assert "small onnx fp32 noisy" in told
    document = json.loads(bench(*words, "--json")[1])
    assert (document["winner"]["validity"], document["contenders"]) == ("noisy", [])


def test_an_interval_across_the_limit_is_told_with_what_would_close_it(bench, make_measurement, tmp_path):
    samples = tuple(latency for latency in (2.0, 2.6, 3.2) for _ in range(20))
    row = make_measurement("net", samples_ms=samples, launch_counts=(20, 20, 20), validity="noisy")
    append(tmp_path / "m.jsonl", row)
    words = ("choose", "--max-latency-ms", "3", "--measurements", "m.jsonl")
    code, out, told = bench(*words)
    assert (code, out) == (1, "")
    assert "nothing fits for sure" in told
    assert re.search(r"may win: net onnx fp32, \S+ at worst and \S+ at best for --max-latency-ms 3", told)
    assert "to tell, measure again with --launches 5, on a quieter machine" in told
    (contender,) = json.loads(bench(*words, "--json")[1])["contenders"]
    assert contender["open_limits"] == ["--max-latency-ms"]


def test_choose_fails_in_words_where_nothing_fits(bench, write):
    write("m.jsonl", "small", 1.0, accuracy=0.85)
    write("m.jsonl", "large", 4.0, accuracy=0.95)
    code, out, told = bench(
        "choose", "--max-latency-ms", "0.5", "--min-relative-accuracy", "0.99", "--measurements", "m.jsonl"
    )
    assert (code, out) == (1, "")
    assert "nothing fits: none of 2 candidates keeps every limit" in told
    assert "most in the way: --max-latency-ms 0.5: 2 of 2 break it; alone it would have to be 4.0" in told
    assert "--min-relative-accuracy 0.99: 1 of 2 break it; loosening it alone does not help" in told
    assert "nearest miss: small onnx fp32; it would need --max-latency-ms 1.0" in told


def test_rows_of_two_devices_are_not_mixed_and_on_names_one(bench, write, make_measurement):
    other = make_measurement().device.model_copy(update={"name": "Other CPU"})
    write("m.jsonl", "net", 1.0)
    write("m.jsonl", "net", 3.0, device=other)
    words = ("choose", "--max-latency-ms", "9", "--measurements", "m.jsonl")
    code, _, told = bench(*words)
    assert code == 2
    assert "rows of 2 devices or ways of measuring are not to be mixed. Name one with --on: Test CPU, Other CPU" in told
    code, out, _ = bench(*words, "--on", "other", "--json")
    assert (code, round(json.loads(out)["winner"]["median_ms"])) == (0, 3)
    assert "nothing was measured on 'abacus'; there is: Test CPU, Other CPU" in bench(*words, "--on", "abacus")[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "a budget is missing: give at least one limit"),
        (["--max-latency-ms", "5", "--device", "tpu"], "there is no device 'tpu'"),
        (
            ["--max-latency-ms", "5", "--device", "android"],
            "holds no row of android, batch 1, threads 1. It",
        ),
        (["--max-latency-ms", "5", "--batch", "8"], "holds no row of cpu, batch 8"),
        (["--max-latency-ms", "-1"], "max-latency-ms"),
        (["--max-latency-ms", "5", "--artifacts", "nowhere"], "nowhere does not exist"),
        (["--max-latency-ms", "5", "--measurements", "none.jsonl"], "none.jsonl does not exist"),
        (["--max-latency-ms", "5", "--threads", "2"], "there is nothing to choose from. 1 × no accuracy is known"),
    ],
)
def test_what_cannot_be_chosen_is_one_paragraph_and_exit_code_2(bench, write, words, expected):
    write("out/measurements.jsonl", "net", 1.0)
    write("out/measurements.jsonl", "untrained", 1.0, accuracy=None, accuracy_images=0, threads=2)
    code, out, told = bench("choose", *words)
    assert (code, out) == (2, "")
    assert expected in told


def test_real_artifacts_are_measured_twice_compared_followed_and_chosen(bench, make_artifact, tmp_path):
    """From artifacts on disk to the choice, each step its own process or command."""
    make_artifact("tiny")
    make_artifact("wide", weights=np.zeros((3 * 8**2, 3), dtype=np.float32))
    environment = {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        command = [
            sys.executable,
            "-m",
            "bench",
            "artifacts",
            "--launches",
            "2",
            "--out",
            "m.jsonl",
        ]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    code, out, _ = bench("compare", "m.jsonl@previous", "m.jsonl@latest", "--json")
    pairs = json.loads(out)["pairs"]
    assert (code, sorted(pair["name"] for pair in pairs)) == (0, ["tiny", "wide"])
    assert all(pair["knows_launches"] for pair in pairs)
    code, out, _ = bench("history", "artifacts/tiny", "--measurements", "m.jsonl", "--json")
    (series,) = json.loads(out)
    assert (code, len(series["moments"]), series["moments"][1]["note"]) == (0, 2, "")
    code, out, _ = bench(
        "choose", "--max-latency-ms", "1000", "--measurements", "m.jsonl", "--artifacts", "artifacts", "--json"
    )
    assert (code, json.loads(out)["winner"]["accuracy"]) == (0, 0.9)


def test_an_emulated_phone_decides_nothing_but_a_rehearsal(bench, write, make_measurement):
    phone = make_measurement().device.model_copy(update={"kind": "android", "instrument": "app", "emulated": True})
    write("m.jsonl", "net", 3.0, device=phone)
    words = ("choose", "--measurements", "m.jsonl", "--device", "android", "--max-latency-ms", "5")
    assert bench(*words)[0] == 2
    code, _, told = bench(*words, "--rehearse")
    assert code == 0
    assert "rehearsal: times of an emulated phone count here" in told
    assert "winner: net" in told


def test_two_phones_get_one_model_or_one_each_and_a_missing_row_is_named(bench, write, make_measurement):
    device = make_measurement().device
    for name, times in {"here": (1.0, 9.0), "there": (9.0, 1.0), "even": (2.0, 2.5), "new": (0.5, None)}.items():
        for serial, latency_ms in zip(("x1", "y2"), times, strict=True):
            phone = {"kind": "android", "name": "Phone", "serial": serial, "instrument": "app"}
            if latency_ms is not None:
                write("out/measurements.jsonl", name, latency_ms, device=device.model_copy(update=phone))
    words = ("choose", "--device", "android", "--max-latency-ms", 20)
    code, _, told = bench(*words)
    assert code == 0
    assert "winner: even onnx fp32" in told
    assert "the worst of 2 phones" in told
    assert "new onnx fp32, batch 1, 1 thread: not measured on Phone app y2, so it is no candidate for all" in told
    code, out, told = bench(*words, "--per-phone")
    assert (code, out.split("\n")) == (0, ["new onnx fp32", "there onnx fp32", ""])
    assert "Phone app y2: there onnx fp32" in told
    assert "winner: new onnx fp32" in bench(*words, "--on", "x1")[2]
    _, _, told = bench(*words, "--sustained")
    assert "cold: it was never measured with --sustained" in told
    assert bench("choose", "--max-latency-ms", 1, "--per-phone")[0] == 2


PHONE = Device(
    kind="android",
    name="Test phone",
    os="Android 16",
    cores=8,
    memory_bytes=2**33,
    instrument="app",
    serial="0123",
    emulated=False,
)


def test_on_phones_the_bytes_are_those_of_model_and_runtime(bench, write, tmp_path):
    write("j.jsonl", "small", 2.0, format="onnx", size_bytes=1_000_000, device=PHONE)
    write("j.jsonl", "large", 2.0, format="executorch", size_bytes=3_000_000, device=PHONE)
    write("j.jsonl", "other", 2.0, format="litert", size_bytes=1_000_000, device=PHONE)
    sizes = {"onnx": 6_000_000, "executorch": 2_000_000}
    carried = RuntimeBytes(
        abi="arm64-v8a",
        runtimes={
            name: CarriedRuntime(archive=f"a:{name}:1", size_bytes=size, weighed_in="app.apk")
            for name, size in sizes.items()
        },
    )
    carried.write(tmp_path / "bytes.json")
    words = ("choose", "--device", "android", "--max-size-mb", "5.5", "--measurements", "j.jsonl", "--json")
    code, out, _ = bench(*words, "--runtime-bytes", "bytes.json")
    told = json.loads(out)
    assert (code, told["winner"]["name"]) == (0, "large")
    known = {each["name"]: (each["size_bytes"], each["runtime_bytes"]) for each in told["candidates"]}
    assert known == {"small": (7_000_000, 6_000_000), "large": (5_000_000, 2_000_000), "other": (1_000_000, None)}
    assert {each["name"]: each["breaks"] for each in told["candidates"]} == {
        "small": ["--max-size-mb"],
        "large": [],
        "other": ["--max-size-mb"],
    }


def test_without_weights_of_runtimes_models_alone_count_and_that_is_said(bench, write):
    write("j.jsonl", "small", 2.0, size_bytes=1_000_000, device=PHONE)
    code, out, told = bench("choose", "--device", "android", "--max-size-mb", "2", "--measurements", "j.jsonl")
    assert (code, out) == (0, "small onnx fp32\n")
    assert "bytes are the models' alone: weigh the runtimes" in told
    write("c.jsonl", "small", 2.0)
    code, _, told = bench("choose", "--max-size-mb", "9", "--measurements", "c.jsonl", "--runtime-bytes", "x.json")
    assert (code, "--runtime-bytes is for phones and has no effect on cpu" in told) == (2, True)
