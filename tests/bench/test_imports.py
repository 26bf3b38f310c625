import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "bench.adb, bench.android, bench.android.doctor, bench.android.mend, bench.android.options, bench.protocol, "
    "bench.resume, bench.record, bench.statistics, bench.timing, bench.report, bench.cpu, bench.worker, "
    "bench.accuracy, bench.judge, bench.lock, bench.measure, bench.devices, "
    "bench.cuda.device, bench.cuda.probe, bench.cuda.worker, bench.__main__"
)
HEAVY = ("torch", "onnxruntime", "executorch", "ai_edge_litert", "plotly", "jinja2")


def test_bench_is_imported_without_any_heavy_package():
    code = f"import {MODULES}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
