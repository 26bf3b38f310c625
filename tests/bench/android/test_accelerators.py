"""What was asked to run a model, what did, and what is said where that is not the same."""

from pathlib import Path

import pytest

from bench.android.accelerators import accelerators, active_by_log
from bench.android.options import PhoneOptions, open_phones
from bench.compare.choice import Budget, choose
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.cells import plan
from bench.timing.loop import Limits
from distill.errors import UsageError
from tests.loopback_phone.phone import AGENT

FAULTY = Path(__file__).with_name("faulty_agent.py")
LINE = (
    "I tflite: Replacing {} out of {} node(s) with delegate ({}) node, yielding 1 partitions for subgraph 0 (main).\n"
)


@pytest.mark.parametrize(
    ("log", "active"),
    [
        (LINE.format(60, 60, "LITERT_GPU"), "gpu"),
        (LINE.format(41, 60, "TfLiteGpuDelegateV2"), "gpu+cpu"),
        (LINE.format(60, 60, "WebGPU") + LINE.format(3, 9, "TfLiteXNNPackDelegate"), "gpu+cpu"),
        (LINE.format(0, 60, "LITERT_GPU") + LINE.format(60, 60, "TfLiteXNNPackDelegate"), "xnnpack"),
        (LINE.format(0, 60, "LITERT_GPU"), "cpu"),
        ("I tflite: Created TensorFlow Lite delegate for GPU.\n", None),
        ("", None),
    ],
)
def test_what_ran_is_told_by_what_the_delegates_took(log: str, active: str | None):
    assert active_by_log("gpu", log) == active


def test_a_fall_back_is_a_label_and_no_row_says_gpu_when_the_processor_ran(start_phone, make_bench, make_artifact):
    program = f'#!/system/bin/sh\nexec python3 /opt/faulty.py $(cat /data/local/tmp/mistake) {AGENT} "$1" "$2"\n'
    phone = start_phone(
        program=program,
        mounts={"/opt/faulty.py": FAULTY},
        runtimes={"litert": "com.google.ai.edge.litert:litert:2.3.0", "onnx": "x:y:1.27.0"},
    )
    bench = make_bench(phone, accelerators=("cpu", "gpu"))
    folders = [make_artifact("net", format="litert"), make_artifact("other")]
    todo = bench.spread(plan(folders, batches=[1], threads=[1], refusal=bench.refusal))
    assert [(cell.manifest.format, cell.accelerator) for cell in todo.cells] == [
        ("litert", None),
        ("onnx", None),
        ("litert", "gpu"),
    ]
    (missing,) = todo.not_measured
    assert missing.reason == "there is no gpu for onnx on a phone, only for litert"
    cell = todo.cells[-1]
    for mistake, active, words in (
        ("all_on_gpu", "gpu", None),
        ("some_on_gpu", "gpu+cpu", None),
        ("fallen_back", "xnnpack", "gpu was asked for, xnnpack was active"),
        ("silent_about_gpu", None, "gpu was asked for, nothing that is known was active"),
    ):
        (phone.tmp / "mistake").write_text(mistake)
        ((_, row),) = bench.measure_all([cell], run_id="r", tell=str)
        assert row.validity != "failed", row.reason
        assert (row.accelerator_requested, row.accelerator_active, row.fell_back) == ("gpu", active, words)
        real = row.model_copy(update={"device": row.device.model_copy(update={"emulated": False})})
        (candidate,) = choose([real], Budget(max_latency_ms=1000)).candidates
        assert candidate.name == f"net litert fp32 {'(no gpu)' if words else '(gpu)'}"


def test_an_instrument_without_accelerators_refuses_in_words(start_phone, make_bench, make_artifact):
    bench = make_bench(start_phone(), accelerators=("gpu",))
    folder = make_artifact("net", format="litert")
    (cell,) = bench.spread(plan([folder], batches=[1], threads=[1], refusal=bench.refusal)).cells
    ((_, row),) = bench.measure_all([cell], run_id="r", tell=str)
    assert (row.validity, row.accelerator_requested, row.accelerator_active) == ("failed", "gpu", None)
    assert "runs models on the processor only, not on gpu" in row.reason


def test_unknown_accelerators_and_instruments_without_any_are_named():
    assert accelerators("gpu, cpu,gpu") == ["gpu", "cpu"]
    with pytest.raises(UsageError, match="there is no 'npu' on a phone"):
        accelerators("npu")
    options = PhoneOptions(instrument="native", accelerator="gpu")
    with pytest.raises(UsageError, match="only the app has accelerators"):
        open_phones(options, AccuracyOptions(), PathOptions(), limits=Limits(), timeout_s=1)
