import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS_TORCH = ("bench.cuda.engines",)
MODULES = sorted(
    name
    for path in (ROOT / "bench").rglob("*.py")
    for name in [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")]
    if name not in NEEDS_TORCH
)
HEAVY = ("torch", "onnxruntime", "executorch", "ai_edge_litert", "plotly", "jinja2")


def test_bench_is_imported_without_any_heavy_package():
    code = f"import {', '.join(MODULES)}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
