import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.compare.speed_up import compare
from bench.cpu.options import HostOptions
from bench.cpu.worker import GpuWatch, Outcome, Timed
from bench.cpu.workers import Workers
from bench.cuda.device import CudaBench, CudaOptions, chosen, open_cuda, throttling
from bench.cuda.probe import Gpu, Seen, why_none
from bench.cuda.state import COUNTERS, FIELDS, OLD_REASONS, REASONS, parse, read_state, slowdowns, state_under
from bench.cuda.worker import GpuJob
from bench.devices import Options, find_device
from bench.record import GpuState, Measurement
from bench.report.table import measured_table
from bench.session.answers.options import AccuracyOptions
from bench.session.cells import Plan, find_artifacts, plan
from bench.session.golden import check_output, model_input
from bench.session.resume import resume
from bench.session.run import run_session
from bench.session.variants import Precision, Variant, base_accelerator
from bench.timing.loop import HostLimits
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import TensorSpec, read_artifact
from tests.bench.conftest import make_launch
from tests.bench.timed import measure

ROOT = Path(__file__).resolve().parents[3]
GPU = Gpu(name="NVIDIA A40", uuid="GPU-0", memory_bytes=48 * 2**30, bf16=True, tf32=True)
OLD_GPU = GPU.model_copy(update={"bf16": False, "tf32": False})
ANY_BATCH = TensorSpec(name="image", shape=(-1, 3, 8, 8), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
LINE = {
    "clocks.sm": "1740",
    "clocks.mem": "7251",
    "temperature.gpu": "61",
    "power.draw": "183.25",
    "utilization.gpu": "97",
    "memory.used": "512",
    REASONS: "0x0000000000000024",
    **dict.fromkeys(COUNTERS, "250"),
}
STATE = parse(LINE)
QUICK = HostLimits(
    warmup_count=2,
    warmup_s=0.0,
    min_count=25,
    min_s=0.0,
    max_count=25,
    steady_within=None,
    half_width=None,
    burst_s=None,
)


def make_bench(**fields: Any) -> CudaBench:
    values: dict[str, Any] = {
        "gpu": GPU,
        "driver": "550.54",
        "engines": ("eager", "compile", "graphs", "torchscript", "onnxruntime"),
        "precisions": ("fp32", "bf16"),
        "has_onnxruntime": True,
    }
    return CudaBench(**{**values, **fields})


def planned(bench: CudaBench, folders: list[Path], batches: tuple[int, ...] = (1,)) -> Plan:
    return bench.spread(plan(folders, batches=batches, threads=[1], refusal=bench.refusal))


def has_gpu() -> bool:
    """Without importing torch into every test run."""
    return (
        shutil.which("nvidia-smi") is not None
        and subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0
    )


needs_gpu = pytest.mark.skipif(not has_gpu(), reason="nvidia-smi finds no CUDA GPU")


# What is asked for.


def test_every_way_an_artifact_can_run_is_a_cell_of_its_own(make_artifact):
    folders = [make_artifact(format, format=format, input=ANY_BATCH) for format in ("eager", "torchscript", "onnx")]
    todo = planned(make_bench(), folders, batches=(1, 256))
    ways = [f"{cell.manifest.format} {cell.batch}: {cell.accelerator}" for cell in todo.cells]
    assert len(ways) == len(set(ways)) == 16
    assert [way for way in ways if "256" in way] == [
        "eager 256: cuda eager fp32",
        "eager 256: cuda eager bf16",
        "eager 256: cuda compile fp32",
        "eager 256: cuda compile bf16",
        "eager 256: cuda graphs fp32",
        "eager 256: cuda graphs bf16",
        "torchscript 256: cuda torchscript fp32",
        "onnx 256: cuda onnxruntime fp32",
    ]
    assert [(one.what, one.reason) for one in todo.not_measured] == [
        (f"{name} {name} fp32", "it cannot be computed in bf16 on this GPU") for name in ("torchscript", "onnx")
    ]


def test_a_gpu_without_tf32_and_bf16_is_not_asked_for_them(make_artifact):
    bench = make_bench(gpu=OLD_GPU, precisions=("fp32", "tf32", "bf16", "fp16"), engines=("eager",))
    todo = planned(bench, [make_artifact("net", format="eager")])
    assert [cell.accelerator for cell in todo.cells] == ["cuda eager fp32", "cuda eager fp16"]


@pytest.mark.parametrize(
    ("fields", "changes", "reason"),
    [
        ({"format": "litert"}, {}, "no runner for litert on a GPU"),
        ({"precision": "int8"}, {}, "int8 artifacts are made for processors; on a GPU measure the fp32 one"),
        ({"format": "onnx"}, {"has_onnxruntime": False}, "pip install onnxruntime-gpu"),
        ({"format": "torchscript"}, {"precisions": ("bf16",)}, "leave no way to run torchscript"),
    ],
)
def test_what_cannot_run_on_a_gpu_is_refused_with_the_reason(make_artifact, fields, changes, reason):
    todo = planned(make_bench(**changes), [make_artifact("net", **fields)])
    assert todo.cells == ()
    assert reason in todo.not_measured[0].reason


def test_words_of_an_option_are_checked():
    assert chosen("bf16, fp32", ("fp32", "tf32", "bf16"), "--precisions") == ("fp32", "bf16")
    with pytest.raises(UsageError, match=r"--precisions 'int4' is not a list of fp32, tf32\."):
        chosen("int4", ("fp32", "tf32"), "--precisions")
    with pytest.raises(UsageError, match=r"--l2 'warm,cold' is not one of warm, cold\."):
        open_cuda(HostOptions(), AccuracyOptions(), CudaOptions(l2="warm,cold"), timeout_s=1)
    with pytest.raises(UsageError, match="--accuracy has no effect on cuda"):
        open_cuda(HostOptions(), AccuracyOptions(10), CudaOptions(), timeout_s=1)


# A machine without a GPU.


@pytest.mark.parametrize(
    ("seen", "driver", "expected"),
    [
        (Seen(), None, "--device cuda needs torch, which is not installed."),
        (Seen(torch="2.13.0+cpu"), None, "torch 2.13.0+cpu is built without CUDA. Install a build with it"),
        (Seen(torch="2.13.0", built_for="13.0"), None, "(built for CUDA 13.0) sees no GPU, and nvidia-smi finds no"),
        (
            Seen(torch="2.13.0", built_for="13.0", problem="driver too old"),
            "470.1",
            "CUDA_VISIBLE_DEVICES is '7'; CUDA says: driver too old. Make the GPU visible, or update the driver",
        ),
    ],
)
def test_without_a_gpu_it_is_said_what_torch_and_the_driver_see(seen, driver, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    told = why_none(seen, driver=driver)
    assert expected in told
    assert told.endswith("Use --device cpu to measure on this machine's processor.")


def test_a_gpu_hidden_from_torch_is_an_error_before_any_work(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--device", "cuda"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "1000", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "sees no GPU" in done.stderr or "is built without CUDA" in done.stderr


# What nvidia-smi says.


def test_the_words_of_nvidia_smi_become_numbers_in_base_units():
    assert STATE == GpuState(
        sm_mhz=1740,
        memory_mhz=7251,
        celsius=61,
        watts=183.25,
        busy_percent=97,
        memory_used_bytes=2**29,
        slowdowns=("power cap", "heat (driver)"),
        slowed_us=1000,
    )


def test_what_a_gpu_does_not_tell_is_none():
    state = parse({**dict.fromkeys(FIELDS, "[N/A]"), OLD_REASONS: "[Not Supported]"})
    assert set(state.model_dump().values()) == {None}


def test_idle_and_chosen_clocks_are_no_slowdown():
    assert slowdowns(0x1 | 0x2 | 0x10 | 0x100) == ()


def write_nvidia_smi(folder: Path, *known: str) -> str:
    """A program that answers like nvidia-smi of a driver that knows these fields, and refuses any other."""
    script = folder / "nvidia-smi"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"line = { {name: LINE.get(name, LINE[REASONS]) for name in known}!r}\n"
        "fields = sys.argv[2].removeprefix('--query-gpu=').split(',')\n"
        "unknown = [one for one in fields if one not in line]\n"
        "print(', '.join(line.get(one, 'not a valid field to query') for one in fields))\n"
        "sys.exit(2 if unknown else 0)\n"
    )
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("known", "changes"),
    [
        ((*FIELDS, REASONS, *COUNTERS), {}),
        ((*FIELDS, REASONS), {"slowed_us": None}),
        ((*FIELDS, OLD_REASONS), {"slowed_us": None}),
        (FIELDS, {"slowed_us": None, "slowdowns": None}),
    ],
)
def test_old_drivers_are_asked_for_what_they_know(tmp_path, known, changes):
    command = write_nvidia_smi(tmp_path, *known)
    assert read_state("GPU-0", command=command) == STATE.model_copy(update=changes)


def test_without_nvidia_smi_there_is_no_state(tmp_path):
    assert read_state("GPU-0", command=str(tmp_path / "nothing")) is None


def test_the_state_is_asked_for_while_the_model_runs(tmp_path, monkeypatch):
    write_nvidia_smi(tmp_path, *LINE)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    calls: list[int] = []
    assert state_under(lambda: calls.append(1), "GPU-0") == STATE
    assert calls


@pytest.mark.parametrize(
    ("before", "loaded", "expected"),
    [
        ({}, {"slowdowns": ()}, None),
        ({}, {"slowdowns": ("power cap",)}, "the GPU slowed itself down in launch 2: power cap"),
        ({}, {"slowdowns": (), "slowed_us": 43_000}, "the GPU slowed itself down for 42 ms in launch 2"),
        ({"slowed_us": None}, {"slowdowns": None}, None),
    ],
)
def test_a_gpu_that_slows_itself_down_is_noticed(before, loaded, expected):
    quiet = GpuWatch(before=STATE, loaded=STATE.model_copy(update={"slowdowns": ()}))
    suspect = GpuWatch(before=STATE.model_copy(update=before), loaded=STATE.model_copy(update=loaded))
    assert throttling([quiet, suspect, GpuWatch(before=None, loaded=None)]) == expected


# The session: real worker processes that answer as a GPU's would.


def write_worker(folder: Path, outcome: Outcome) -> Workers:
    """Workers that note their job and give this outcome."""
    (folder / "outcome.json").write_text(outcome.model_dump_json())
    script = folder / "worker.py"
    script.write_text(
        "import os, shutil, sys\nfrom pathlib import Path\n"
        "job, result, ready = sys.argv[1:]\n"
        "os.write(int(ready), b'1')\nsys.stdin.readline()\n"
        f"with open({str(folder / 'jobs')!r}, 'a') as jobs: jobs.write(Path(job).read_text() + '\\n')\n"
        f"shutil.copy({str(folder / 'outcome.json')!r}, result)\n"
    )
    return Workers((sys.executable, str(script)))


def timed(loaded: GpuState | None = None) -> Outcome:
    return Outcome(
        timed=Timed(
            runtime="torch",
            runtime_version="2.13.0",
            threads_active=1,
            input="golden",
            launch=make_launch(30),
            samples_ms=tuple(0.1 + 0.0001 * (turn % 5) for turn in range(30)),
            mhz_before=None,
            mhz_after=None,
            throttled=None,
            gpu=GpuWatch(before=STATE, loaded=loaded or STATE.model_copy(update={"slowdowns": ()})),
        )
    )


def rows_of(bench: CudaBench, folders: list[Path], journal: Path, batches: tuple[int, ...] = (1,)) -> list[Measurement]:
    return run_session(planned(bench, folders, batches), bench, journal)


def test_a_row_says_on_which_gpu_and_how_it_ran(make_artifact, tmp_path):
    workers = write_worker(tmp_path, timed())
    bench = make_bench(workers=workers, launches=2, memory_pass=False, cold_l2=True, engines=("eager",))
    rows = rows_of(bench, [make_artifact("net", format="eager")], tmp_path / "journal.jsonl")
    row = next(row for row in rows if "bf16" in str(row.accelerator_requested))
    assert row.accelerator_requested == row.accelerator_active == "cuda eager bf16 cold-l2"
    assert (row.device.kind, row.device.name, row.device.memory_bytes) == ("cuda", "NVIDIA A40", 48 * 2**30)
    assert row.device.os.endswith("NVIDIA driver 550.54")
    assert row.conditions.gpu_before == STATE
    assert row.conditions.gpu_loaded is not None
    assert row.launch_counts == (30, 30)
    assert row.validity == "valid", row.reason
    job = GpuJob.model_validate_json((tmp_path / "jobs").read_text().splitlines()[0])
    assert (job.uuid, job.variant.cold_l2, job.memory_limit_bytes) == ("GPU-0", True, None)


def test_a_slowed_gpu_labels_its_row(make_artifact, tmp_path):
    workers = write_worker(tmp_path, timed(loaded=STATE))
    bench = make_bench(workers=workers, launches=1, memory_pass=False, engines=("eager",), precisions=("fp32",))
    (row,) = rows_of(bench, [make_artifact("net", format="eager")], tmp_path / "journal.jsonl")
    assert (row.validity, row.reason) == (
        "throttled",
        "the GPU slowed itself down in launch 1: power cap, heat (driver)",
    )


def test_a_failure_on_the_gpu_is_a_failed_row_of_its_variant(make_artifact, tmp_path):
    workers = write_worker(tmp_path, Outcome(failure="CUDA out of memory"))
    bench = make_bench(workers=workers, launches=1, engines=("graphs",), precisions=("fp32",))
    (row,) = rows_of(bench, [make_artifact("net", format="eager")], tmp_path / "journal.jsonl")
    assert (row.validity, row.reason, row.samples_ms) == ("failed", "CUDA out of memory", ())
    assert (row.accelerator_requested, row.accelerator_active) == ("cuda graphs fp32", None)


def test_a_session_goes_on_with_the_variants_that_are_left(make_artifact, tmp_path):
    bench = make_bench(workers=write_worker(tmp_path, timed()), launches=1, memory_pass=False, engines=("eager",))
    todo = planned(bench, [make_artifact("net", format="eager")])
    done = run_session(replace(todo, cells=todo.cells[:1]), bench, tmp_path / "journal.jsonl")
    left, run_id = resume(todo, done, bench.place())
    assert run_id == done[0].run_id
    assert left.cells == todo.cells[1:]


def test_every_variant_is_a_row_held_against_plain_eager_in_fp32(make_artifact, tmp_path):
    workers = write_worker(tmp_path, timed())
    bench = make_bench(workers=workers, launches=1, memory_pass=False, engines=("eager", "compile"))
    rows = compare(rows_of(bench, [make_artifact("net", format="eager")], tmp_path / "journal.jsonl"))
    assert len(rows) == 4
    base = next(row for row in rows if row.measurement.accelerator_requested == "cuda eager fp32")
    faster = base.measurement.model_copy(
        update={
            "accelerator_requested": "cuda graphs bf16",
            "samples_ms": tuple(s / 4 for s in base.measurement.samples_ms),
        }
    )
    again = compare([faster, *(row.measurement for row in rows)])
    assert again[0].speed_up is not None
    assert again[0].speed_up.value == pytest.approx(4)
    assert "runs as" in [column.header for column in measured_table(again, wide=False).columns]


@pytest.mark.parametrize(
    ("accelerator", "base"),
    [
        (None, None),
        ("xnnpack", None),
        ("cuda graphs bf16", "cuda eager fp32"),
        ("cuda onnxruntime tf32 cold-l2 copied-input", "cuda eager fp32 cold-l2 copied-input"),
    ],
)
def test_the_base_shares_the_circumstances(accelerator, base):
    assert base_accelerator(accelerator) == base


# What runs in the worker, as far as it needs no GPU.


class ScriptedEvent:
    """Stands in for torch.cuda.Event: `elapsed_time` gives the next of the times told."""

    def __init__(self, log: list[str], name: str, times_ms: list[float]) -> None:
        self.log, self.name, self.times_ms = log, name, times_ms

    def record(self) -> None:
        self.log.append(f"record {self.name}")

    def synchronize(self) -> None:
        self.log.append(f"wait {self.name}")

    def elapsed_time(self, _: "ScriptedEvent") -> float:
        return self.times_ms.pop(0)


def test_samples_are_the_times_between_the_events():
    engines = pytest.importorskip("bench.cuda.engines")
    times_ms = [9.0, 2.0, 2.0, *(1 + turn / 100 for turn in range(25))]
    log: list[str] = []
    start, end = ScriptedEvent(log, "start", list(times_ms)), ScriptedEvent(log, "end", [])
    timer = engines.EventTimer(lambda: log.append("run"), start, end, flush=lambda: log.append("flush"))
    timing = measure(timer.call, limits=QUICK, clock=timer.clock)
    assert timing.first_ms == 9.0
    assert timing.warmup.seconds == pytest.approx(0.004)
    assert timing.samples_ms == pytest.approx(times_ms[3:])
    assert log[:5] == ["flush", "record start", "run", "record end", "wait end"]


def export_network(out: Path, formats: str) -> Path:
    """A small untrained network as artifacts of these formats, in folders below this one."""
    words = "--model torchvision:mobilenet_v3_small --untrained 10 --size 32 --batch dynamic --precision fp32"
    subprocess.run(
        [sys.executable, "-m", "export", "export", *words.split(), "--format", formats, "--out", str(out / "made")],
        cwd=out,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return out / "made"


@pytest.fixture(scope="module")
def eager_network(tmp_path_factory) -> Path:
    return export_network(tmp_path_factory.mktemp("network"), "eager")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_the_network_computes_what_it_should_in_every_precision(eager_network: Path, precision: Precision):
    engines = pytest.importorskip("bench.cuda.engines")
    (folder,) = find_artifacts([eager_network])
    manifest = read_artifact(folder)
    batch, golden = model_input(folder, manifest, batch=3)
    assert golden is not None
    model = engines.open_model(folder, manifest, Variant(engine="eager", precision=precision), threads=1, device="cpu")
    run = model.bind(batch)
    assert run().dtype == engines.DTYPES[precision]
    logits = engines.to_host(run())
    check_output(lambda: logits, golden, manifest, precision=precision)
    with pytest.raises(WorkFailed, match=f"logits differ from the golden ones .* for {precision}"):
        check_output(lambda: logits + np.abs(golden).max() + 1, golden, manifest, precision=precision)


# On a GPU.


@needs_gpu
@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        CudaOptions(precisions="fp32,tf32,bf16,fp16"),
        CudaOptions(engines="eager,graphs,onnxruntime", l2="cold", copy_input=True),
    ],
    ids=["every engine and precision", "cold L2 and copied input"],
)
def test_every_variant_of_a_network_is_measured_on_the_gpu(tmp_path: Path, options: CudaOptions):
    bench = find_device("cuda").open(Options(timeout_s=600, host=HostOptions(launches=1), cuda=options))
    assert isinstance(bench, CudaBench)
    folders = find_artifacts([export_network(tmp_path, "eager,torchscript,onnx")])
    rows = rows_of(bench, folders, tmp_path / "journal.jsonl", batches=(1, 8))
    failed = {f"{row.accelerator_requested} batch {row.batch}": row.reason for row in rows if not row.samples_ms}
    assert not failed
    for row in rows:
        assert (row.device.kind, row.accelerator_active, row.input) == ("cuda", row.accelerator_requested, "golden")
        assert row.conditions.gpu_loaded is not None
        assert (row.peak_memory_bytes is None) == ("onnxruntime" in str(row.accelerator_requested))
    assert {row.batch for row in rows} == {1, 8}
