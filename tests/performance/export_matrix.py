"""The exporter's whole matrix, proofs included, against the same conversions by hand, one after the other.

Three bases: a script per artifact, as people run them; one process that imports everything once; the converter calls
alone, without any import, which nobody can run. The matrix is made before, between and after the scripts, as the
machine's speed drifts over minutes.
"""

import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import psutil

from distill import terminal
from distill.errors import UsageError, WorkFailed
from export.formats import FORMATS, PRECISIONS
from tests.performance import bare_converters
from tests.performance.bare_converters import Seconds

CHECKPOINT = Path("out/runs/demo")
POLL_S = 2.0
"""Counting shared pages once takes the kernel tens of milliseconds per process."""

MAX_RATIO = 0.7
MAX_SECOND_S = 5.0


@dataclass(frozen=True)
class Took:
    """One command with its children: wall and processor time, and the most memory held at once (shared pages once)."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str


def matrix(checkpoint: Path = CHECKPOINT) -> None:
    """Export everything and convert everything by hand, and show times, their ratios and peak memory."""
    if not checkpoint.is_dir():
        raise UsageError(f"there is no run {checkpoint}. Make it with: make distill")
    with tempfile.TemporaryDirectory(prefix="export-matrix-") as scratch:
        bare: dict[tuple[str, str], Took] = {}
        made: list[Took] = []
        scripts = bare_targets()
        for part in (scripts[: len(scripts) // 2], scripts[len(scripts) // 2 :], []):
            made.append(run_matrix(checkpoint, Path(scratch, f"artifacts-{len(made)}")))
            bare |= {target: run_bare(*target, checkpoint, Path(scratch)) for target in part}
        second = run_matrix(checkpoint, Path(scratch, "artifacts-0"))
    rows = [
        row(
            "matrix, proofs included",
            [took.seconds for took in made],
            "s",
            cpu_s=median(took.cpu_seconds for took in made),
        ),
        row("again, nothing changed", [second.seconds], "s", cpu_s=second.cpu_seconds, at_most=MAX_SECOND_S),
        *bases(bare, [took.seconds for took in made]),
        row("peak memory: matrix", [took.peak_bytes / 2**30 for took in made], "GiB"),
        row("peak memory: one bare script", [max(took.peak_bytes for took in bare.values()) / 2**30], "GiB"),
    ]
    columns = ["", "found", "range", "processor", "goal"]
    terminal.console.print(terminal.table(f"export of {checkpoint.name}", columns, rows))


def run_matrix(checkpoint: Path, out: Path) -> Took:
    took = run([sys.executable, "-m", "export", str(checkpoint), "--out", str(out)])
    terminal.say(f"[dim]export to {out.name}: {took.seconds:.1f} s[/]")
    return took


def row(
    name: str, values: Sequence[float], unit: str = "", *, cpu_s: float | None = None, at_most: float | None = None
) -> list[str]:
    """Name, median, least and greatest of several, processor time, goal."""
    digits = 1 if unit == "s" else 2
    ends = f"{min(values):.{digits}f}–{max(values):.{digits}f}" if len(values) > 1 else ""
    found = f"{median(values):.{digits}f} {unit}".strip()
    return [
        name,
        found,
        ends,
        "" if cpu_s is None else f"{cpu_s:.1f} s",
        "" if at_most is None else f"≤ {at_most:g} {unit}".strip(),
    ]


def bases(bare: Mapping[tuple[str, str], Took], matrix_s: Sequence[float]) -> list[list[str]]:
    """What the conversions take by hand, and each making of the matrix as a share of it."""
    scripts = {target: Seconds.read(took.printed) for target, took in bare.items()}
    calls_s = sum(script.calls for script in scripts.values())
    by_format = {name: [s.toolchain for (n, _), s in scripts.items() if n == name] for name, _ in scripts}
    toolchains_s = sum(map(mean, by_format.values()))
    once_s = mean(script.start + script.load for script in scripts.values()) + toolchains_s
    scripts_s, cpu_s = sum(took.seconds for took in bare.values()), sum(took.cpu_seconds for took in bare.values())
    found: list[tuple[str, float, float | None]] = [
        ("bare scripts", scripts_s, cpu_s),
        ("imports once, then calls", once_s + calls_s, None),
        ("calls alone", calls_s, None),
    ]
    return [
        *(row(name, [seconds], "s", cpu_s=cpu) for name, seconds, cpu in found),
        *(row(f"matrix / {name}", [each / s for each in matrix_s], at_most=MAX_RATIO) for name, s, _ in found),
    ]


def bare_targets() -> list[tuple[str, str]]:
    """What `python -m export` makes by default, but for eager, which nobody converts."""
    return [
        (name, precision)
        for name, entry in FORMATS.items()
        if name in bare_converters.CONVERTERS
        for precision in PRECISIONS
        if precision in entry.usual and precision in entry.schemes
    ]


def run_bare(name: str, precision: str, checkpoint: Path, scratch: Path) -> Took:
    folder = scratch / f"{name}-{precision}"
    folder.mkdir()
    terminal.say(f"[dim]bare script: {name} {precision}[/]")
    script = bare_converters.__spec__.name
    return run([sys.executable, "-W", "ignore", "-m", script, name, precision, str(checkpoint), str(folder)])


def run(command: list[str]) -> Took:
    """Run a command to its end; raises WorkFailed with its last words if it fails."""
    started, cpu_before = time.perf_counter(), cpu_seconds_of_children()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak_bytes = [0]
    watch = threading.Thread(target=_watch, args=(process, peak_bytes))
    watch.start()
    printed, said = process.communicate()
    seconds = time.perf_counter() - started
    watch.join()
    if process.returncode != 0:
        raise WorkFailed(f"{' '.join(command[1:])} ended with exit code {process.returncode}: {said[-800:]}")
    return Took(seconds, cpu_seconds_of_children() - cpu_before, peak_bytes[0], printed)


def cpu_seconds_of_children() -> float:
    """Processor time of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(process: "subprocess.Popen[str]", peak_bytes: list[int]) -> None:
    while process.poll() is None:
        held = 0
        try:
            root = psutil.Process(process.pid)
            for one in [root, *root.children(recursive=True)]:
                held += one.memory_full_info().pss
        except psutil.NoSuchProcess:  # it has ended since; the next look counts the others
            continue
        peak_bytes[0] = max(peak_bytes[0], held)
        time.sleep(POLL_S)
