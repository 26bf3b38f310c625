import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench.cpu import device
from bench.cpu.device import MEMORY_SHARE, UNKNOWN_BYTES, CpuBench, rounds
from bench.cpu.worker import MORE, Job
from bench.cpu.workers import WORKER, Workers
from bench.record import Measurement, read_journal
from bench.session.cells import plan
from bench.session.run import run_session
from bench.timing.loop import HostLimits
from export.artifact.manifest import Delegation, TensorSpec

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).parents[1] / "misbehaving_worker.py"
QUICK = HostLimits(
    warmup_count=2,
    warmup_s=0.0,
    min_count=25,
    min_s=0.0,
    max_count=25,
    steady_within=None,
    half_width=None,
    burst_s=0.002,
)
TIMEOUT_S = 12
MISBEHAVING = Workers((sys.executable, str(SCRIPT)), timeout_s=TIMEOUT_S, ahead=3)
BENCH = CpuBench(limits=QUICK, launches=2, seed=5, workers=MISBEHAVING, memory_limit_bytes=600_000_000)
REAL = CpuBench(limits=QUICK, launches=2, seed=5, workers=Workers(ahead=2))


def measure_all(folders: list[Path], journal: Path, bench: CpuBench = BENCH) -> dict[str, Measurement]:
    todo = plan(folders, batches=[1], threads=[1], refusal=bench.refusal)
    return {row.subject.name: row for row in run_session(todo, bench, journal)}


def is_running(process: str) -> bool:
    """Whether a process lives; one that was killed and waits for init to collect it does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def session(tmp_path_factory, make_artifact_in) -> tuple[dict[str, Measurement], Path]:
    """One session with every kind of bad artifact between good ones."""
    root = tmp_path_factory.mktemp("session")
    behaviours = (
        "first",
        "crash",
        "killed",
        "hoard",
        "raise",
        "hang",
        "wrong",
        "nan",
        "changed",
        "crash later",
        "hang later",
        "last",
    )
    folders = [make_artifact_in(root, name, format="torchscript", model_bytes=name.encode()) for name in behaviours]
    (root / "artifacts" / "changed" / "model.bin").write_bytes(b"changeD")
    return measure_all(folders, root / "journal.jsonl"), root / "journal.jsonl"


@pytest.mark.parametrize("name", ["first", "last"])
def test_good_artifacts_are_measured_whatever_their_neighbours_do(session, name: str):
    row = session[0][name]
    assert row.validity != "failed"
    assert row.launch_counts == (25, 25)
    assert len(row.samples_ms) == 50
    assert 0.5 <= min(row.samples_ms) < 50
    assert (row.runtime, row.runtime_version, row.threads, row.threads_active) == ("misbehaving", "1.0", 1, 1)
    assert row.input == "golden"
    assert [(one.warmup_count, one.steady) for one in row.launches] == [(2, None)] * 2
    assert all((one.load_ms or 0) > 0 and (one.first_inference_ms or 0) >= 0.5 for one in row.launches)
    assert (
        10_000_000 < (row.runtime_memory_bytes or 0) <= (row.loaded_memory_bytes or 0) <= (row.peak_memory_bytes or 0)
    )
    assert row.seed == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crash", "the worker was ended by SIGSEGV; last lines of its log: about to crash"),
        ("killed", "the worker was ended by SIGKILL, as the kernel does when memory runs out; its log is empty"),
        (
            "hoard",
            r"it ran out of memory at 600 MB \(--memory-limit-mb allows more\): .*MemoryError",
        ),
        ("raise", "exit code 1; last lines of its log: .*RuntimeError: delegate refused node 17"),
        ("hang", f"it did not finish within {TIMEOUT_S} s and was stopped"),
        ("crash later", "the worker was ended by SIGSEGV"),
        ("hang later", f"it did not finish within {TIMEOUT_S} s and was stopped"),
        ("wrong", "logits differ from the golden ones by up to 0.5, allowed is .* for fp32"),
        ("nan", r"expected \(1, 3\) finite logits, found \(1, 3\) with 3 that are not finite"),
        ("changed", "model.bin was changed after it was exported: SHA-256 is"),
    ],
)
def test_a_bad_artifact_costs_its_own_row_and_says_why(session, name: str, expected: str):
    row = session[0][name]
    assert (row.validity, row.samples_ms) == ("failed", ())
    assert re.search(expected, row.reason), row.reason


def test_every_row_is_in_the_journal(session):
    rows, journal = session
    assert len(rows) == 12
    assert list(read_journal(journal).measurements) == list(rows.values())
    assert len({row.run_id for row in rows.values()}) == 1


def test_a_hanging_worker_is_gone_with_all_it_started(session):
    folder = session[1].parent / "artifacts" / "hang"
    processes = (folder / "processes").read_text().split()
    assert len(processes) == 2
    assert not [process for process in processes if is_running(process)]


def test_a_worker_that_ends_without_a_result_is_a_failed_row(make_artifact, tmp_path):
    bench = CpuBench(limits=QUICK, workers=Workers((sys.executable, "-c", "")))
    row = measure_all([make_artifact("mute", format="torchscript", model_bytes=b"mute")], tmp_path / "j", bench)["mute"]
    assert (row.validity, row.reason) == ("failed", "the worker ended without a result, though with exit code 0")


def test_any_batch_is_filled_from_the_golden_image_and_checked(make_artifact, tmp_path):
    spec = TensorSpec(name="image", shape=(-1, 3, 8, 8), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
    folders = [
        make_artifact(name, format="torchscript", model_bytes=name.encode(), input=spec) for name in ("good", "wrong")
    ]
    todo = plan(folders, batches=[4], threads=[1], refusal=BENCH.refusal)
    rows = {row.subject.name: row for row in run_session(todo, BENCH, tmp_path / "journal.jsonl")}
    good, wrong = rows["good"], rows["wrong"]
    assert (good.batch, good.validity != "failed", len(good.samples_ms)) == (4, True, 50)
    assert wrong.validity == "failed"


def test_the_real_onnx_runtime_is_measured_and_its_output_checked(make_artifact, tmp_path):
    rows = measure_all([make_artifact("tiny"), make_artifact("seeded", golden=False)], tmp_path / "j", REAL)
    assert (rows["tiny"].runtime, rows["tiny"].input) == ("onnxruntime", "golden")
    assert (rows["seeded"].runtime, rows["seeded"].input) == ("onnxruntime", "random")
    assert all(row.threads_active == 1 and len(row.samples_ms) == 50 for row in rows.values())


def test_the_delegate_of_the_manifest_is_recorded(make_artifact, tmp_path):
    folder = make_artifact("tiny", delegation=Delegation(backend="xnnpack", pieces=1, undelegated={}))
    row = measure_all([folder], tmp_path / "j", REAL)["tiny"]
    assert (row.accelerator_requested, row.accelerator_active) == ("xnnpack", "xnnpack")


def test_every_round_has_all_cells_in_an_order_of_its_own_given_by_the_seed():
    found = list(rounds("abcdefgh", 4, seed=1))
    assert [sorted(one) for one in found] == [list("abcdefgh")] * 4
    assert len({tuple(one) for one in found}) == 4
    assert found == list(rounds("abcdefgh", 4, seed=1)) != list(rounds("abcdefgh", 4, seed=2))


def test_every_cell_is_launched_once_before_any_is_launched_again(make_artifact):
    folders = [make_artifact(name, format="torchscript", model_bytes=b"fine") for name in "ab"]
    cells = plan(folders, batches=[1], threads=[1], refusal=BENCH.refusal).cells
    heard: list[str] = []
    rows = [row for _, row in BENCH.measure_all(cells, run_id="r", tell=heard.append)]
    assert list(dict.fromkeys(text.split(" · ")[0] for text in heard)) == ["memory", "launch 1 of 2", "launch 2 of 2"]
    assert sorted(row.subject.name for row in rows) == ["a", "b"]


def test_processes_of_one_round_live_together_and_sample_in_turn(make_artifact, tmp_path):
    folders = [make_artifact(name, format="torchscript", model_bytes=b"fine") for name in "abc"]
    rows = measure_all(folders, tmp_path / "j", BENCH)
    for first, second in zip(rows["a"].launches, rows["b"].launches, strict=True):
        assert first.together == second.together is not None
        assert sum(first.burst_counts) == 25
        assert len(first.burst_counts) >= 3
    assert rows["a"].launches[0].together != rows["a"].launches[1].together
    calls = (folders[0].parent / "calls").read_text().split()
    changes = sum(one != other for one, other in pairwise(calls))
    bursts = sum(len(launch.burst_counts) for row in rows.values() for launch in row.launches)
    # Two bursts of one artifact may meet where one turn ends and the next begins.
    assert changes >= bursts * 2 / 3


def test_a_worker_that_never_gets_ready_costs_its_own_row(make_artifact, tmp_path):
    names = {"good": b"fine", "stuck": b"hang at import", "also good": b"fine"}
    folders = [make_artifact(name, format="torchscript", model_bytes=model) for name, model in names.items()]
    rows = measure_all(folders, tmp_path / "j", replace(BENCH, memory_pass=False, launches=1))
    assert [rows[name].launch_counts for name in names] == [(25,), (), (25,)]
    assert rows["stuck"].reason.startswith(f"it did not finish within {TIMEOUT_S} s and was stopped")


def test_processes_live_together_only_as_far_as_the_free_memory_holds_them(make_artifact, tmp_path, monkeypatch):
    folders = [make_artifact(name, format="torchscript", model_bytes=b"fine") for name in "abc"]
    bench = replace(BENCH, memory_pass=False)
    monkeypatch.setattr(device, "available_bytes", lambda: round(2.5 * UNKNOWN_BYTES / MEMORY_SHARE))
    rows = measure_all(folders, tmp_path / "j", bench)
    groups = {name: [launch.together for launch in row.launches] for name, row in rows.items()}
    # Two hold what there is; whoever is together in one round is so in all.
    assert groups["a"] == groups["b"] != groups["c"]
    assert len({group for found in groups.values() for group in found}) == 4


def test_a_worker_whose_bench_is_gone_does_nothing(make_artifact, tmp_path):
    job = Job(
        task="latency",
        folder=str(make_artifact("tiny")),
        batch=1,
        threads=1,
        limits=QUICK,
        memory_limit_bytes=None,
        images=None,
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())
    reader, writer = os.pipe()
    words = [*WORKER, str(tmp_path / "job.json"), str(tmp_path / "result.json"), str(writer)]
    done = subprocess.run(words, pass_fds=[writer], stdin=subprocess.DEVNULL, cwd=ROOT, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, os.read(reader, 2)) == (0, MORE)
    os.close(reader)
    assert not (tmp_path / "result.json").exists()
