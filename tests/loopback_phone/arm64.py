"""Artifacts on arm64 without an arm64 machine: `python -m tests.loopback_phone.arm64 [ARTIFACT …]`.

The instruments that measure on a phone run under user-mode emulation, with arm64 builds of the runtimes, on the jobs a
phone would get; their outputs are held against the golden ones. Functional truth only: times mean nothing here and are
not shown.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.android.launch import INPUT_FILE, MODEL_FILE, Asked, check_golden, make_job
from bench.instruments.native.build import build, native_folder
from bench.protocol import JOB_FILE, Result, result_file
from bench.session.cells import Cell, find_artifacts, subject_name
from bench.session.golden import model_input
from bench.timing.loop import Limits
from distill.errors import ToolError, UsageError, WorkFailed
from export.artifact.manifest import read_artifact
from tests.loopback_phone.emulator import PROCESSOR, emulator
from tests.loopback_phone.image import cache_folder
from tests.loopback_phone.packages import Unavailable, fetch, made_once
from tests.loopback_phone.phone import AGENT

RUNTIMES = {"onnx": "onnxruntime", "litert": "ai-edge-litert"}
EXECUTORCH = f"executorch=={version('executorch')}"
CROSS_COMPILER = "aarch64-linux-gnu-g++"
PLATFORM = "aarch64-manylinux_2_28"
ONCE = Limits(warmup_count=1, warmup_s=0.0, min_count=1, min_s=0.0, max_count=1)
RUN_TIMEOUT_S = 300


@dataclass(frozen=True)
class Compared:
    """One artifact's output on arm64 against its golden one."""

    name: str
    max_difference: float | None
    top1_agrees: bool | None
    verdict: str


@dataclass(frozen=True)
class Emulator:
    """An arm64 root with Python, the program that emulates the processor, and a folder with arm64 packages."""

    program: Path
    root: Path
    packages: Path

    @classmethod
    def ready(cls) -> "Emulator":
        """The emulator, fetched if need be.

        Raises:
            Unavailable: it cannot be had on this machine.
        """
        base = cache_folder() / "arm64"
        programs = ["python3.11", "libgomp1", "libatomic1", "libstdc++6"]
        packages = ["numpy", *(f"{name}=={version(name)}" for name in RUNTIMES.values())]
        return cls(
            emulator(),
            made_once(
                base / "python/root",
                lambda into: fetch(programs, suite="bookworm", keep=".*", into=into, architecture="arm64"),
            ),
            made_once(base / "packages", lambda into: _install(packages, into)),
        )

    def run(self, command: Sequence[object]) -> None:
        """Run an arm64 program.

        Raises:
            WorkFailed: it ends with another code than 0.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.packages), "OMP_NUM_THREADS": "1"}
        words = [self.program, "-cpu", PROCESSOR, "-L", self.root, *command]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
        if done.returncode != 0:
            raise WorkFailed(f"ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")


def compare(folder: Path, machine: Emulator) -> Compared:
    """Run one artifact on emulated arm64."""
    manifest = read_artifact(folder)
    name = f"{subject_name(manifest)} {manifest.format} {manifest.precision}"
    cell = Cell(folder, manifest, batch=1, threads=1)
    values, golden = model_input(folder, manifest, batch=1)
    if golden is None:
        return Compared(name, None, None, "no golden output")
    with tempfile.TemporaryDirectory(prefix="arm64-") as scratch:
        run_id = uuid.uuid4().hex
        place = Path(scratch) / run_id
        place.mkdir()
        shutil.copy2(folder / manifest.file("model"), place / MODEL_FILE)
        (place / INPUT_FILE).write_bytes(values.astype("<f4").tobytes())
        make_job(Asked(cell, "time", 1, ()), manifest, values, run_id, ONCE).write(place / JOB_FILE)
        try:
            machine.run([*_instrument(manifest.format, machine), place / JOB_FILE, place])
            result = Result.read(place / result_file(run_id))
            model = result.models[0]
            if model.error is not None or result.abi != "arm64-v8a":
                raise WorkFailed(model.error or f"it ran as {result.abi}")
            check_golden(model, golden, manifest)
        except ToolError as error:
            return Compared(name, None, None, str(error))
    found = np.array([np.nan if one is None else one for one in model.golden_output], dtype=np.float32)
    difference = float(np.abs(found - golden.reshape(-1)).max())
    return Compared(name, difference, int(found.argmax()) == int(golden.argmax()), "pass")


def _instrument(format_name: str, machine: Emulator) -> list[Path]:
    """The program that runs a format there: the agent, or the C++ runner for ExecuTorch."""
    if format_name in RUNTIMES:
        return [machine.root / "usr/bin/python3.11", AGENT]
    if format_name != "executorch":
        raise UsageError(f"there is no arm64 runtime for {format_name} here")
    return [native_runner()]


def native_runner() -> Path:
    """The C++ runner for arm64, built if need be.

    Raises:
        Unavailable: ExecuTorch's package for arm64 cannot be fetched.
        UsageError: there is no cross compiler on this machine.
    """
    runner = native_folder("arm64-v8a") / "runner"
    if not runner.is_file():
        package = made_once(cache_folder() / "arm64" / "executorch", lambda into: _install([EXECUTORCH], into))
        build(package / "executorch", compiler=CROSS_COMPILER)
    return runner


def _install(packages: list[str], target: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise Unavailable("there is no uv on this machine to fetch arm64 packages with")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python-version", "3.11", "--python-platform", PLATFORM]
    done = subprocess.run([*command, "--target", target, *packages], capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"arm64 packages cannot be fetched: {done.stderr[-300:]}")


def main(paths: list[str]) -> int:
    """Compare every artifact; 1 if one that can run on arm64 gives another output."""
    try:
        machine = Emulator.ready()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    rows = [compare(folder, machine) for folder in find_artifacts(map(Path, paths or ["out/artifacts"]))]
    for row in rows:
        difference = "–" if row.max_difference is None else f"{row.max_difference:.3g}"
        agrees = {None: "–", True: "same class", False: "other class"}[row.top1_agrees]
        print(f"{row.name:<60} {difference:>10}  {agrees:<12} {row.verdict}")
    return int(any("output is wrong" in row.verdict or row.top1_agrees is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
