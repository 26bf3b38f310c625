"""Can the bench be believed? Power: is the same called the same, and 5 % more work found? Truth: against a bare loop.

Both measure artifacts of `make demo` on this machine, which should do nothing else meanwhile.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.cells import Cell, find_artifacts
from bench.cpu import CpuBench
from bench.intervals import Interval, ratio_interval
from bench.processes import Workers
from bench.record import Measurement
from bench.statistics import summarize
from bench.timing import HostLimits
from distill import terminal
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import MANIFEST_FILE, FormatName, Manifest, read_artifact
from tests.performance.side_by_side import Comparison
from tests.performance.slowed_worker import EXTRA

ARTIFACTS = Path("out/artifacts")
HERE = Path(__file__).parent

COMPARISONS = 40
LAUNCHES = 5
SLOW_DOWN = 1.05
MAX_FALSE = 2
MIN_FOUND = 38
SHORT = HostLimits(warmup_s=0.05, min_s=0.1, max_s=0.4)
"""Launches are what counts; many short ones say more than a few long ones."""

FORMATS: tuple[FormatName, ...] = ("eager", "torchscript", "executorch", "onnx", "litert")
ROUNDS = 9
TRUE = "0.98–1.02"


@dataclass(frozen=True)
class Compared:
    """One session's verdicts: an artifact against itself, and against itself with more work."""

    same: Interval
    slower: Interval
    validities: tuple[str, ...]


def power(artifacts: Path = ARTIFACTS) -> None:
    """Compare an artifact with itself and with itself made 5 % slower, in `COMPARISONS` sessions, and say how often
    each was called different.
    """
    with tempfile.TemporaryDirectory(prefix="bench-power-") as scratch:
        found = _artifact(artifacts, "onnx")
        cells = [_copy(found, Path(scratch) / name) for name in ("a", "again", "slower")]
        workers = Workers((sys.executable, str(HERE / "slowed_worker.py")), ahead=2)
        bench = CpuBench(limits=SHORT, launches=LAUNCHES, extra_launches=0, workers=workers, memory_pass=False)
        pilot = _rows(bench, cells[:1])[cells[0].folder]
        extra_ns = round((SLOW_DOWN - 1) * summarize(pilot.samples_ms).median_ms * 1e6)
        (cells[2].folder / EXTRA).write_text(str(extra_ns))
        sessions = [_session(replace(bench, seed=seed), cells) for seed in range(COMPARISONS)]
    false = sum(one.same.verdict != "no difference shown" for one in sessions)
    hits = sum(one.slower.verdict == "slower" for one in sessions)
    valid = sum(validity == "valid" for one in sessions for validity in one.validities)
    rows = [
        ["the same artifact, called different", f"{false} of {COMPARISONS}", f"≤ {MAX_FALSE}"],
        ["5 % more work, found", f"{hits} of {COMPARISONS}", f"≥ {MIN_FOUND}"],
        ["rows labelled valid", f"{valid} of {3 * COMPARISONS}", "–"],
        ["half-width of the ratio's interval, largest", f"{max(one.same.half_width for one in sessions):.1%}", "–"],
    ]
    title = f"power of bench, {LAUNCHES} launches a side of {summarize(pilot.samples_ms).median_ms:.3f} ms a call"
    terminal.console.print(terminal.table(title, ["comparison", "found", "goal"], rows))


def truth(artifacts: Path = ARTIFACTS) -> list[Comparison]:
    """For each runtime, the bench's median of one launch against that of a bare loop in a fresh process.

    Both are taken in turn, and each round has its own ratio: what the machine's neighbours do in a round meets both.
    """
    found: list[Comparison] = []
    for name in FORMATS:
        folder = _artifact(artifacts, name)
        cell = Cell(folder, read_artifact(folder), batch=1, threads=1)
        bare_s: list[float] = []
        ours_s: list[float] = []
        for turn in range(ROUNDS):
            terminal.say(f"[dim]{name}, round {turn + 1} of {ROUNDS}[/]")
            for take, seconds in [(_bare_ms, bare_s), (_our_ms, ours_s)][:: 1 if turn % 2 else -1]:
                seconds.append(summarize(take(cell)).median_ms / 1000)
        title = f"bench's median against a bare loop's, {name} ({1000 * median(bare_s):.3f} ms)"
        found.append(Comparison(title, TRUE, tuple(bare_s), tuple(ours_s)))
    return found


def _session(bench: CpuBench, cells: Sequence[Cell]) -> Compared:
    rows = _rows(bench, cells)
    a, again, slower = (rows[cell.folder] for cell in cells)
    terminal.say(f"[dim]session {bench.seed + 1} of {COMPARISONS}[/]")
    return Compared(
        same=ratio_interval(a.samples_by_launch, again.samples_by_launch),
        slower=ratio_interval(a.samples_by_launch, slower.samples_by_launch),
        validities=tuple(row.validity for row in rows.values()),
    )


def _rows(bench: CpuBench, cells: Sequence[Cell]) -> dict[Path, Measurement]:
    rows = {cell.folder: row for cell, row in bench.measure_all(cells, run_id="performance", tell=lambda _: None)}
    for row in rows.values():
        if row.validity == "failed":
            raise WorkFailed(f"{row.subject.name} {row.subject.format} could not be measured: {row.reason}")
    return rows


def _our_ms(cell: Cell) -> tuple[float, ...]:
    bench = CpuBench(launches=1, extra_launches=0, memory_pass=False)
    return _rows(bench, [cell])[cell.folder].samples_ms


def _bare_ms(cell: Cell) -> tuple[float, ...]:
    manifest, script = cell.manifest, str(HERE / "bare_loop.py")
    command = [sys.executable, "-W", "ignore", script, manifest.format, str(cell.folder), manifest.file("model")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise WorkFailed(f"the bare loop ended with exit code {done.returncode}: {done.stderr[-600:]}")
    return tuple(float(word) for word in done.stdout.split())


def _artifact(artifacts: Path, name: FormatName) -> Path:
    """The first fp32 artifact of a format."""
    for folder in find_artifacts([artifacts]) if artifacts.is_dir() else []:
        manifest = read_artifact(folder)
        if (manifest.format, manifest.precision) == (name, "fp32"):
            return folder
    raise UsageError(f"{artifacts} holds no {name} fp32 artifact. Make some with: make demo")


def _copy(folder: Path, to: Path) -> Cell:
    shutil.copytree(folder, to)
    return Cell(to, Manifest.read(to / MANIFEST_FILE), batch=1, threads=1)
