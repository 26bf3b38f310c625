"""make gpu-check: what only a GPU can show, in eight minutes at most; where there is none it says so and ends well.

Each check is a process of its own with a limit of its own, so that a crash or a hang costs that check alone. They come
in the order in which they are likely to fail.
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from distill import terminal
from distill.contract import write_whole
from distill.errors import UsageError, WorkFailed
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.place import ROOT

TOTAL_S = 480.0
REHEARSAL_PATIENCE = 10
"""How many times as long a rehearsal may take."""


@dataclass(frozen=True)
class Check:
    """One line of the table below: the module that has `check(place)`, what it shows, and how long it may take."""

    module: str
    shows: str
    limit_s: float


CHECKS: dict[str, Check] = {
    "resume": Check("tests.gpu_check.resume", "a run killed on the GPU goes on there", 150),
    "suite": Check("tests.gpu_check.suite", "the tests marked gpu, no host synchronisation in a step among them", 180),
    "precision": Check("tests.gpu_check.precision", "bf16 learns as fp32 does", 120),
    "throughput": Check("tests.gpu_check.throughput", "KD images/s against the usual research loop", 120),
    "latency": Check("tests.gpu_check.latency", "bench --device cuda, student and teacher", 180),
}
PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "onnxruntime-gpu", "numpy")


def main(
    checks: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(CHECKS)}.", show_default="all")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder per device.")] = Path("out/gpu-check"),
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run the checks on the CPU, small: shows that they run, nothing else.")
    ] = False,
) -> None:
    """Check on this machine's GPU what no CPU can show, and write what was found."""
    chosen = checks or list(CHECKS)
    if unknown := [name for name in chosen if name not in CHECKS]:
        raise UsageError(f"there is no check {unknown[0]!r}. Checks: {', '.join(CHECKS)}.")
    device = "rehearsal-cpu" if rehearse else gpu_name()
    if device is None:
        terminal.say(
            "no GPU that torch can use is at hand, so nothing was checked. Run this where there is one, "
            "or rehearse it here: python -m tests.gpu_check --rehearse"
        )
        return
    findings: dict[str, tuple[Finding, float]] = {}
    patience = REHEARSAL_PATIENCE if rehearse else 1
    deadline = time.monotonic() + patience * TOTAL_S
    for name in chosen:
        started = time.monotonic()
        limit_s = min(deadline - started, patience * CHECKS[name].limit_s)
        terminal.say(f"{name}: {CHECKS[name].shows} … at most {limit_s:.0f} s")
        finding = in_a_process(name, "cpu" if rehearse else "cuda", limit_s=limit_s)
        findings[name] = finding, time.monotonic() - started
        terminal.say(f"{name}: {verdict(finding)} after {findings[name][1]:.0f} s. {escape(finding.words)}")
        write(out / folder_name(device), device, findings)
    failed = [name for name, (finding, _) in findings.items() if finding.passed is False]
    if failed:
        raise WorkFailed(f"{', '.join(failed)} failed; the reasons stand above and in {out / folder_name(device)}.")
    terminal.product(out / folder_name(device), "move this folder into results/ and commit it")


def gpu_name() -> str | None:
    """Name of the GPU that torch would use; None without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def folder_name(device: str) -> str:
    """A device's name as a folder's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower()


def in_a_process(name: str, device: str, *, limit_s: float) -> Finding:
    """Run one check; a crash and the end of its time are findings, too."""
    if limit_s < 1:
        return Finding(passed=None, words="the time for all checks was over before it began.")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        ending = Path(scratch) / "finding.json"
        command = [sys.executable, "-m", "tests.gpu_check.one", name, device, scratch, str(ending)]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Finding(passed=False, words=f"it was not done after {limit_s:.0f} s.")
        finally:
            # Whatever it has started is in its group.
            if process.poll() is None or not ending.is_file():
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()
        if not ending.is_file():
            return Finding(passed=False, words=f"its process ended with exit code {code} and said nothing.")
        return Finding.read(ending)


def verdict(finding: Finding) -> str:
    """One word in colour."""
    return {True: "[green]passed[/]", False: "[red]failed[/]", None: "[yellow]not shown[/]"}[finding.passed]


def write(folder: Path, device: str, findings: dict[str, tuple[Finding, float]]) -> None:
    """The report so far: README.md for people, findings.json for programs."""
    where = f"{platform.platform()}, Python {platform.python_version()}; {packages()}."
    lines = [f"# gpu-check on {device}", "", where, ""]
    for name, (finding, seconds) in findings.items():
        word = {True: "passed", False: "failed", None: "not shown"}[finding.passed]
        lines += [f"## {name}: {word}", "", f"{CHECKS[name].shows}; {seconds:.0f} s. {finding.words}", ""]
        for table in finding.tables:
            lines += [*as_markdown(table), ""]
    write_whole(folder / "README.md", "\n".join(lines).encode())
    document = {name: {"seconds": s, **finding.model_dump(mode="json")} for name, (finding, s) in findings.items()}
    write_whole(folder / "findings.json", (json.dumps(document, indent=2) + "\n").encode())


def as_markdown(table: Table) -> list[str]:
    """A table's lines."""
    rows = (table.columns, ("---",) * len(table.columns), *table.rows)
    return [f"| {' | '.join(row)} |" for row in rows]


def packages() -> str:
    """Versions of what the figures depend on."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    terminal.run(app)
