"""Images per second of the KD step against the usual research loop: eager, compiled, and as CUDA graphs."""

import torch

from distill.methods import Outputs
from distill.methods.hinton_kd import HintonKDConfig
from distill.training.batches import Batch
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.place import Place
from tests.performance import training
from tests.performance.side_by_side import compare

GOAL = 3.0
"""How many times the images/s of the research loop."""

ROUNDS = 7
MODES = {"eager": None, "compiled": "default", "CUDA graphs": "reduce-overhead"}


def check(place: Place) -> Finding:
    """Both loops side by side in one process; a rehearsal compares one of them for two rounds."""
    small, native = training.DATA.load("train", training.SMALL), training.DATA.load("train", training.NATIVE)
    table = torch.randn(len(small), len(small.class_names), device=place.device)
    base = training.research_loop(native, workers=2 if place.on_gpu else 0, device=place.device)
    asked = training.Asked(place.device)

    def kept(batch: Batch) -> Outputs:
        return Outputs(table[batch.indices])

    rows: list[tuple[str, ...]] = []
    best = 0.0
    for mode, compiled in MODES.items() if place.on_gpu else [("eager", None)]:
        for how, answers in (("kept", kept), ("asked every step", asked)):
            new = training.our_loop(
                small,
                answers,
                HintonKDConfig(),
                device=place.device,
                precision="bf16-mixed" if place.on_gpu else "32-true",
                compiled=compiled,
            )
            comparison = compare("", "", base, new, rounds=ROUNDS if place.on_gpu else 2)
            ratio, low, high = comparison.speedup()
            images = training.STEPS * training.BATCH
            rate = images / sorted(comparison.new_s)[len(comparison.new_s) // 2]
            rows.append((mode, how, f"{rate:,.0f}", f"{ratio:.2f}", f"{low:.2f}–{high:.2f}"))
            best = max(best, low)
    columns = ("step", "teacher", "images/s", "× the research loop", "95 % interval")
    return Finding(
        passed=best >= GOAL if place.on_gpu else None,
        words=f"bf16 steps on the GPU against a research loop in float32; goal ≥ {GOAL:.0f} ×."
        if place.on_gpu
        else "rehearsed only; a processor's figures say nothing here.",
        tables=(Table(columns=columns, rows=tuple(rows)),),
    )
