"""What the way over adb costs: the agent on a loopback phone against this machine's own bench, by the ordinary command.

The same processor runs both, so medians should agree; what differs is the timed loop, the process around it and the
phone's namespaces. Needs root and the artifacts of `make demo`.
"""

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.android.adb import find_program
from bench.record import read_journal
from bench.session.cells import find_artifacts
from bench.timing.statistics import summarize
from distill import terminal
from distill.errors import UsageError, WorkFailed
from export.artifact.manifest import read_artifact
from tests.loopback_phone.phone import AdbServer, LoopbackPhone, why_not
from tests.performance.side_by_side import Comparison

ARTIFACTS = Path("out/artifacts")
ROUNDS = 7
SIDE_TIMEOUT_S = 1800
ON_BOTH = {"executorch", "litert", "onnx"}
"""Formats whose one package runs them here and on the phone."""

GOAL = "0.95–1.05"
HOST = ("--device", "cpu")
PHONE = ("--device", "android", "--instrument", "python", "--launches", "1")

Medians = dict[str, float]


def comparisons(artifacts: Path = ARTIFACTS, rounds: int = ROUNDS) -> list[Comparison]:
    """Medians of each artifact, measured in turn on both, each round beginning with the other one.

    Raises:
        UsageError: there is no artifact that runs on both, or no loopback phone can be started here.
        WorkFailed: a row failed.
    """
    folders = _on_both(artifacts)
    if reason := why_not():
        raise UsageError(reason)
    host_s: dict[str, list[float]] = defaultdict(list)
    phone_s: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="phone-and-host-") as name:
        scratch = Path(name)
        server = AdbServer(find_program(), scratch / "server").start()
        phone = LoopbackPhone(scratch / "phone")
        environment = {**os.environ, **server.environment, "HOME": os.environ["HOME"], "XDG_STATE_HOME": name}
        try:
            server.attach(phone.start())
            for turn in range(rounds):
                sides = [(HOST, host_s), (PHONE, phone_s)]
                for options, seconds in sides[:: 1 if turn % 2 else -1]:
                    journal = scratch / f"{options[1]}{turn}.jsonl"
                    for one, median_s in _medians(folders, options, journal, environment).items():
                        seconds[one].append(median_s)
                terminal.say(f"round {turn + 1} of {rounds} done")
        finally:
            phone.stop()
            server.stop()
    return [
        Comparison(
            f"agent on the loopback phone against the host, {one}", GOAL, tuple(host_s[one]), tuple(phone_s[one])
        )
        for one in host_s
    ]


def _on_both(artifacts: Path) -> list[Path]:
    folders = find_artifacts([artifacts]) if artifacts.is_dir() else []
    found = [folder for folder in folders if read_artifact(folder).format in ON_BOTH]
    if not found:
        raise UsageError(f"{artifacts} holds no artifact in {', '.join(sorted(ON_BOTH))}. Make some with: make demo")
    return found


def _medians(folders: list[Path], options: tuple[str, ...], journal: Path, environment: dict[str, str]) -> Medians:
    """Seconds per call of every artifact, by name."""
    command = [sys.executable, "-m", "bench", *map(str, folders), *options, "--out", str(journal)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SIDE_TIMEOUT_S)
    if done.returncode != 0:
        raise WorkFailed(f"{' '.join(options)} ended with exit code {done.returncode}: {done.stderr[-600:]}")
    return {
        f"{row.subject.name} {row.subject.format} {row.subject.precision}": summarize(row.samples_ms).median_ms / 1000
        for row in read_journal(journal).measurements
    }
