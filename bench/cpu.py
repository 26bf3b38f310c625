"""The CPU of this machine: every cell in a process of its own (`bench.worker`)."""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from bench import machine
from bench.cells import Cell, subject
from bench.record import Conditions, Device, Measurement
from bench.statistics import Label, label
from bench.timing import Limits
from bench.version import toolkit_version
from bench.worker import Job, Measured, Outcome
from distill.contract import explain
from export.artifact.manifest import Manifest
from export.artifact.runner import RUNNERS

WORKER = (sys.executable, "-m", "bench.worker")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
TOOLKIT_FOLDER = Path(__file__).resolve().parent.parent
BUSY_SHARE = 0.25
"""Of all cores; above it, a session says that other work disturbs it."""

LOG_TAIL_LINES = 5
LOG_TAIL_CHARS = 600


@dataclass(frozen=True)
class CpuBench:
    """Measures cells on this machine's CPU.

    Attributes:
        limits: when warm-up and sampling stop.
        timeout_s: a worker that takes longer, from start to result, is killed and its row failed.
        worker: command line of the worker; the job file and the result file are appended.
    """

    limits: Limits = field(default_factory=Limits)
    timeout_s: float = 120.0
    worker: tuple[str, ...] = WORKER

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this machine cannot run an artifact, or None."""
        if manifest.format in RUNNERS:
            return None
        return "needs macOS" if manifest.format == "coreml" else f"no runner for {manifest.format} on this machine"

    def caution(self) -> str | None:
        """What about this machine will spoil the measurements, or None."""
        busy, cores = machine.busy_cores(), machine.usable_cores()
        if busy is None or busy < BUSY_SHARE * cores:
            return None
        return (
            f"other work keeps {busy:.1f} of {cores} cores busy. Latencies will be too high, above all with several "
            "threads; stop it and measure again for figures to rely on"
        )

    def measure(self, cell: Cell, *, run_id: str) -> Measurement:
        """Measure one cell. Whatever goes wrong in the worker becomes a `failed` row with its reason."""
        began = datetime.now(UTC)
        load, mhz, celsius = machine.load_average(), machine.cpu_mhz(), machine.temperature_celsius()
        outcome = self._run_worker(cell)
        seen = outcome.measured
        conditions = Conditions(
            load_average_before=load,
            cpu_mhz_before=mhz,
            cpu_mhz_after=seen.cpu_mhz_after if seen else None,
            temperature_celsius=celsius,
            thermal_status=None,
            battery_celsius=None,
            battery_percent=None,
            hot_start=False,
        )
        verdict = label(seen.samples_ms) if seen else Label("failed", outcome.failure or "the worker gave no reason")
        return _row(cell, seen, verdict, conditions=conditions, began=began, run_id=run_id, device=machine.identify())

    def _run_worker(self, cell: Cell) -> Outcome:
        job = Job(folder=str(cell.folder.resolve()), batch=cell.batch, threads=cell.threads, limits=self.limits)
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            job_path, result_path, log_path = (Path(scratch) / name for name in ("job.json", "result.json", "log.txt"))
            job_path.write_text(job.model_dump_json())
            command = [*self.worker, str(job_path), str(result_path)]
            with log_path.open("wb") as log:
                exit_code = _run(command, _environment(cell.threads), log, timeout_s=self.timeout_s)
            if exit_code == 0:
                return _read_outcome(result_path)
            return Outcome(measured=None, failure=_how_it_ended(exit_code, self.timeout_s) + _log_tail(log_path))


def _run(command: list[str], environment: dict[str, str], log: BinaryIO, *, timeout_s: float) -> int | None:
    """Exit code of a command (negative: signal number), or None if it was killed for taking too long."""
    # In a session of its own, Ctrl-C reaches only us, and whatever the runtime started can be killed with it.
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(threads: int) -> dict[str, str]:
    # The folder goes first, so that the worker runs this very toolkit whether or not it is installed.
    paths = [str(TOOLKIT_FOLDER), os.environ.get("PYTHONPATH", "")]
    python_path = os.pathsep.join(path for path in paths if path)
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": python_path}


def _read_outcome(path: Path) -> Outcome:
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Outcome(measured=None, failure="the worker ended without a result, though with exit code 0")
    except ValidationError as error:
        return Outcome(measured=None, failure=f"the worker's result cannot be read: {explain(error)}")


def _how_it_ended(exit_code: int | None, timeout_s: float) -> str:
    if exit_code is None:
        return f"it did not finish within {timeout_s:g} s and was stopped (--timeout allows more)"
    if exit_code > 0:
        return f"the worker ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
    return f"the worker was ended by {name}{hint}"


def _log_tail(path: Path) -> str:
    lines = [line.strip() for line in path.read_bytes().decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return "; its log is empty"
    tail = " | ".join(lines[-LOG_TAIL_LINES:])
    return f"; last lines of its log: {tail[-LOG_TAIL_CHARS:]}"


def _row(
    cell: Cell,
    seen: Measured | None,
    verdict: Label,
    *,
    conditions: Conditions,
    began: datetime,
    run_id: str,
    device: Device,
) -> Measurement:
    delegation = cell.manifest.delegation
    backend = delegation.backend if delegation else None
    return Measurement(
        run_id=run_id,
        utc_time=began.isoformat(timespec="seconds"),
        toolkit_version=toolkit_version(),
        subject=subject(cell),
        device=device,
        conditions=conditions,
        runtime=seen.runtime if seen else None,
        runtime_version=seen.runtime_version if seen else None,
        threads=cell.threads,
        threads_active=seen.threads_active if seen else None,
        accelerator_requested=backend,
        # Delegation is decided at export: a graph with delegate pieces that runs at all runs them there.
        accelerator_active=backend if seen and delegation and delegation.pieces else None,
        batch=cell.batch,
        input=seen.input if seen else None,
        warmup_count=seen.warmup_count if seen else 0,
        warmup_s=seen.warmup_s if seen else 0.0,
        samples_ms=seen.samples_ms if seen else (),
        launch_counts=(),
        load_ms=seen.load_ms if seen else None,
        first_inference_ms=seen.first_inference_ms if seen else None,
        peak_memory_bytes=seen.peak_memory_bytes if seen else None,
        validity=verdict.validity,
        reason=verdict.reason,
    )
