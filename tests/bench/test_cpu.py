import re
import sys
from pathlib import Path

import pytest

from bench.cells import Cell, plan
from bench.cpu import CpuBench
from bench.record import Measurement, read_journal
from bench.session import run_session
from bench.timing import Limits
from export.artifact.manifest import MANIFEST_FILE, Delegation, Manifest, TensorSpec

SCRIPT = Path(__file__).parent / "misbehaving_worker.py"
QUICK = Limits(warmup_count=2, warmup_s=0.0, min_count=25, min_s=0.0, max_count=25)
BENCH = CpuBench(limits=QUICK, timeout_s=10, worker=(sys.executable, str(SCRIPT)))


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
    behaviours = ("first", "crash", "raise", "hang", "wrong", "nan", "changed", "last")
    folders = [make_artifact_in(root, name, format="torchscript", model_bytes=name.encode()) for name in behaviours]
    (root / "artifacts" / "changed" / "model.bin").write_bytes(b"changeD")
    bench = CpuBench(limits=QUICK, timeout_s=10, worker=(sys.executable, str(SCRIPT)))
    return measure_all(folders, root / "journal.jsonl", bench), root / "journal.jsonl"


@pytest.mark.parametrize("name", ["first", "last"])
def test_good_artifacts_are_measured_whatever_their_neighbours_do(session, name: str):
    row = session[0][name]
    assert row.validity != "failed"
    assert len(row.samples_ms) == 25
    assert 0.5 <= min(row.samples_ms) < 50
    assert (row.runtime, row.runtime_version, row.threads, row.threads_active) == ("misbehaving", "1.0", 1, 1)
    assert row.input == "golden"
    assert row.warmup_count == 2
    assert (row.load_ms or 0) > 0
    assert (row.first_inference_ms or 0) >= 0.5
    assert (row.peak_memory_bytes or 0) > 10_000_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crash", "the worker was ended by SIGSEGV; last lines of its log: about to crash"),
        ("raise", "exit code 1; last lines of its log: .*RuntimeError: delegate refused node 17"),
        ("hang", "it did not finish within 10 s and was stopped"),
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
    assert list(read_journal(journal).measurements) == list(rows.values())
    assert len({row.run_id for row in rows.values()}) == 1


def test_a_hanging_worker_is_gone_with_all_it_started(session):
    folder = session[1].parent / "artifacts" / "hang"
    processes = (folder / "processes").read_text().split()
    assert len(processes) == 2
    assert not [process for process in processes if is_running(process)]


def test_a_worker_that_ends_without_a_result_is_a_failed_row(make_artifact, tmp_path):
    bench = CpuBench(limits=QUICK, worker=(sys.executable, "-c", ""))
    row = measure_all([make_artifact("mute", format="torchscript", model_bytes=b"mute")], tmp_path / "j", bench)["mute"]
    assert (row.validity, row.reason) == ("failed", "the worker ended without a result, though with exit code 0")


def test_any_batch_is_filled_from_the_golden_image_and_checked(make_artifact, tmp_path):
    spec = TensorSpec(name="image", shape=(-1, 3, 8, 8), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
    folders = [
        make_artifact(name, format="torchscript", model_bytes=name.encode(), input=spec) for name in ("good", "wrong")
    ]
    todo = plan(folders, batches=[4], threads=[1], refusal=BENCH.refusal)
    good, wrong = run_session(todo, BENCH, tmp_path / "journal.jsonl")
    assert (good.batch, good.validity != "failed", len(good.samples_ms)) == (4, True, 25)
    assert wrong.validity == "failed"


def test_the_real_onnx_runtime_is_measured_and_its_output_checked(make_artifact, tmp_path):
    rows = measure_all(
        [make_artifact("tiny"), make_artifact("seeded", golden=False)], tmp_path / "j", CpuBench(limits=QUICK)
    )
    assert (rows["tiny"].runtime, rows["tiny"].input) == ("onnxruntime", "golden")
    assert (rows["seeded"].runtime, rows["seeded"].input) == ("onnxruntime", "random")
    assert all(row.threads_active == 1 and len(row.samples_ms) == 25 for row in rows.values())


def test_the_delegate_of_the_manifest_is_recorded(make_artifact, tmp_path):
    folder = make_artifact("tiny", delegation=Delegation(backend="xnnpack", pieces=1, undelegated={}))
    manifest = Manifest.read(folder / MANIFEST_FILE)
    row = CpuBench(limits=QUICK).measure(Cell(folder, manifest, 1, 1), run_id="r")
    assert (row.accelerator_requested, row.accelerator_active) == ("xnnpack", "xnnpack")
