"""Can the bench be believed? Power: is the same called the same, and 5 % more work found? Truth: against a bare loop.

Both measure artifacts of `make demo` on this machine, as sessions of the bench in which copies of an artifact sample in
turn.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.markup import escape

from bench.compare.compare import ratio_in_words
from bench.cpu.device import CpuBench
from bench.cpu.workers import Workers
from bench.record import Measurement
from bench.session.cells import Cell, find_artifacts
from bench.timing.intervals import Interval
from bench.timing.loop import HostLimits
from bench.timing.ratio import ratio_of
from bench.timing.statistics import summarize
from distill import terminal
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import MANIFEST_FILE, FormatName, Manifest, read_artifact
from tests.performance.bare_loop import BARE, BURST_S, BURSTS
from tests.performance.slowed_worker import EXTRA

ARTIFACTS = Path("out/artifacts")
HERE = Path(__file__).parent

COMPARISONS = 40
MORE_WORK = 0.05
MAX_FALSE = 2
MIN_FOUND = 38
POWER_LAUNCHES = 7
SHORT = HostLimits(warmup_s=0.05, warmup_cap_s=0.2, min_s=0.8, max_s=0.8, half_width=None, burst_s=0.02)
"""Forty turns a launch."""

FORMATS: tuple[FormatName, ...] = ("eager", "torchscript", "executorch", "onnx", "litert")
TRUTH_LAUNCHES = 10
ALIKE = HostLimits(min_s=BURSTS * BURST_S, max_s=BURSTS * BURST_S, burst_s=BURST_S, half_width=None)
MAX_OFF = 0.02


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
        bench = _bench("slowed_worker.py", SHORT, POWER_LAUNCHES)
        (cells[2].folder / EXTRA).write_text(str(MORE_WORK))
        sessions = [_session(replace(bench, seed=seed), cells) for seed in range(COMPARISONS)]
    false = sum(one.same.verdict != "no difference shown" for one in sessions)
    hits = sum(one.slower.verdict == "slower" for one in sessions)
    valid = sum(validity == "valid" for one in sessions for validity in one.validities)
    rows = [
        ["the same artifact, called different", f"{false} of {COMPARISONS}", f"≤ {MAX_FALSE}"],
        ["5 % more work, found", f"{hits} of {COMPARISONS}", f"≥ {MIN_FOUND}"],
        ["rows labelled valid", f"{valid} of {3 * COMPARISONS}", "–"],
        ["half-width of the ratio's interval, median", f"{median(one.same.half_width for one in sessions):.1%}", "–"],
        ["ratio with 5 % more work, median", f"{median(one.slower.value for one in sessions):.3f}", "1.05"],
    ]
    title = f"power of bench, {found.name}, {POWER_LAUNCHES} launches a side"
    terminal.console.print(terminal.table(title, ["comparison", "found", "goal"], rows))


def truth(artifacts: Path = ARTIFACTS) -> None:
    """For each runtime, the bench's median against that of a bare loop in a process of its own, in turn with it."""
    rows: list[list[str]] = []
    for name in FORMATS:
        terminal.say(f"[dim]{name}[/]")
        with tempfile.TemporaryDirectory(prefix="bench-truth-") as scratch:
            found = _artifact(artifacts, name)
            ours, bare = (_copy(found, Path(scratch) / side) for side in ("bench", "bare loop"))
            (bare.folder / BARE).touch()
            measured = _rows(_bench("bare_loop.py", ALIKE, TRUTH_LAUNCHES), [ours, bare])
        row, loop = measured[ours.folder], measured[bare.folder]
        ratio = ratio_of(loop, row)
        medians = [f"{summarize(one.samples_ms).median_ms:.3f}" for one in (loop, row)]
        goal = "met" if abs(ratio.value - 1) <= MAX_OFF else "missed"
        rows.append([name, *medians, escape(ratio_in_words(ratio)), goal])
    columns = ["fp32", "bare ms", "bench ms", "bench / bare [95 %]", f"± {100 * MAX_OFF:.0f} %"]
    title = f"bench's median against a bare loop's, {TRUTH_LAUNCHES} launches of {BURSTS} turns"
    terminal.console.print(terminal.table(title, columns, rows))


def _bench(worker: str, limits: HostLimits, launches: int) -> CpuBench:
    workers = Workers((sys.executable, "-W", "ignore", str(HERE / worker)))
    return CpuBench(limits=limits, launches=launches, workers=workers, memory_pass=False)


def _session(bench: CpuBench, cells: Sequence[Cell]) -> Compared:
    rows = _rows(bench, cells)
    a, again, slower = (rows[cell.folder] for cell in cells)
    same, more = ratio_of(a, again), ratio_of(a, slower)
    found = f"the same {ratio_in_words(same)}, more work {ratio_in_words(more)}"
    terminal.say(f"[dim]session {bench.seed + 1} of {COMPARISONS}: {escape(found)}[/]")
    return Compared(same, more, tuple(row.validity for row in rows.values()))


def _rows(bench: CpuBench, cells: Sequence[Cell]) -> dict[Path, Measurement]:
    rows = {cell.folder: row for cell, row in bench.measure_all(cells, run_id="performance", tell=lambda _: None)}
    for row in rows.values():
        if row.validity == "failed":
            raise WorkFailed(f"{row.subject.name} {row.subject.format} could not be measured: {row.reason}")
    return rows


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
