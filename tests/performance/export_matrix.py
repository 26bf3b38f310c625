"""The exporter's whole matrix, proofs included, against the bare converter calls one after the other."""

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from distill import terminal
from distill.errors import UsageError, WorkFailed
from export.formats import FORMATS, PRECISIONS
from tests.performance import bare_converters

CHECKPOINT = Path("out/runs/demo")
POLL_S = 0.1
MAX_RATIO = 0.7
MAX_SECOND_S = 5.0


@dataclass(frozen=True)
class Took:
    """One command: wall time, and the most memory that it and its children held at once (shared pages once)."""

    seconds: float
    peak_bytes: int
    printed: str


def matrix(checkpoint: Path = CHECKPOINT) -> None:
    """Export everything twice, convert everything by hand, and show times, their ratio and peak memory."""
    if not checkpoint.is_dir():
        raise UsageError(f"there is no run {checkpoint}. Make it with: make distill")
    with tempfile.TemporaryDirectory(prefix="export-matrix-") as scratch:
        export = [sys.executable, "-m", "export", str(checkpoint), "--out", str(Path(scratch, "artifacts"))]
        first, second = run(export), run(export)
        terminal.say(f"[dim]whole matrix: {first.seconds:.1f} s, again: {second.seconds:.1f} s[/]")
        bare = {target: run_bare(*target, checkpoint, Path(scratch)) for target in bare_targets()}
    # Converters print, too; the script's own line is the last.
    calls_s = sum(float(took.printed.split()[-1]) for took in bare.values())
    scripts_s = sum(took.seconds for took in bare.values())
    rows = [
        ["whole matrix, proofs included", f"{first.seconds:.1f} s", "–"],
        [f"{len(bare)} bare scripts, one after the other", f"{scripts_s:.1f} s", "–"],
        ["of these the converter calls alone", f"{calls_s:.1f} s", "–"],
        ["matrix / bare scripts", f"{first.seconds / scripts_s:.2f}", f"≤ {MAX_RATIO}"],
        ["matrix / converter calls alone", f"{first.seconds / calls_s:.2f}", f"≤ {MAX_RATIO}"],
        ["second run, nothing changed", f"{second.seconds:.1f} s", f"≤ {MAX_SECOND_S:.0f} s"],
        ["peak memory of the matrix", f"{first.peak_bytes / 2**30:.2f} GiB", "–"],
        [
            "peak memory of the hungriest bare script",
            f"{max(took.peak_bytes for took in bare.values()) / 2**30:.2f} GiB",
            "–",
        ],
    ]
    terminal.console.print(terminal.table(f"export of {checkpoint.name}", ["", "found", "goal"], rows))


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
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak_bytes = [0]
    watch = threading.Thread(target=_watch, args=(process, peak_bytes))
    watch.start()
    printed, said = process.communicate()
    seconds = time.perf_counter() - started
    watch.join()
    if process.returncode != 0:
        raise WorkFailed(f"{' '.join(command[1:])} ended with exit code {process.returncode}: {said[-800:]}")
    return Took(seconds, peak_bytes[0], printed)


def _watch(process: "subprocess.Popen[str]", peak_bytes: list[int]) -> None:
    while process.poll() is None:
        held = 0
        try:
            root = psutil.Process(process.pid)
            for one in [root, *root.children(recursive=True)]:
                held += one.memory_info().rss - one.memory_info().shared
        except psutil.NoSuchProcess:  # it has ended since; the next look counts the others
            continue
        peak_bytes[0] = max(peak_bytes[0], held)
        time.sleep(POLL_S)
