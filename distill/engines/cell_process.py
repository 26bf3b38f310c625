"""A cell's process: `python -m distill run FOLDER --resume`, started through `launch.py`."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from distill.contract import write_whole
from distill.system import child_environment, signal_name

CONFIG_FILE = "config.json"
LOG_FILE = "log.txt"
CONDITIONS_FILE = "conditions.txt"
STARTED = "--- started"
LAUNCHER = Path(__file__).with_name("launch.py")


def start_cell(
    folder: Path, *, threads: int, conditions: str, gpu: bool = True, cwd: str | None = None
) -> subprocess.Popen[bytes]:
    """Start the run whose `config.json` is in `folder`; what it prints is added to `log.txt` there.

    Args:
        folder: the run's.
        threads: of the processor, for the run.
        conditions: what it shares the machine with, in words; kept in `conditions.txt` to read timings by.
        gpu: False hides the GPUs of this machine.
        cwd: where relative paths of the configuration start; None = here.
    """
    environment = child_environment() | {"OMP_NUM_THREADS": str(threads)}
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-P", str(LAUNCHER), str(os.getpid()), str(folder)]
    device = device_name(folder, environment)
    write_whole(folder / CONDITIONS_FILE, f"{conditions}, {threads} thread(s) each, on {device}\n".encode())
    with (folder / LOG_FILE).open("ab", buffering=0) as log:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        log.write(f"{STARTED} {now} on {socket.gethostname()}\n".encode())
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=cwd)


def failure_of(folder: Path, exit_code: int) -> str | None:
    """Why a run that ended with `exit_code` failed, or None."""
    if exit_code == 0:
        return None
    how = f"exit code {exit_code}" if exit_code > 0 else f"killed by {signal_name(-exit_code)}"
    return f"{how}; see {folder / LOG_FILE}"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a cell at once; its last finished epoch is kept."""
    process.kill()
    process.wait()


def device_name(folder: Path, environment: dict[str, str]) -> str:
    """Name of the processor or, if the run may use one, of the GPU."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    query = shutil.which("nvidia-smi")
    if query and visible != "" and json.loads((folder / CONFIG_FILE).read_text("utf-8")).get("device") != "cpu":
        which = [] if visible is None else ["--id", visible.split(",")[0]]
        command = [query, *which, "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout:
            return answer.stdout.splitlines()[0].strip()
    processor = Path("/proc/cpuinfo")
    if processor.is_file():
        for line in processor.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
