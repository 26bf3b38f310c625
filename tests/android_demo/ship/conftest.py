"""A folder whose `python -m distill`, `export` and `bench` are stand-ins (stand_in.py), and the loop run in it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from android_demo.ship.record import SHIP_FILE, Ship

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60


def ignore_ctrl_c() -> None:
    """As a shell has it for what runs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Home:
    """Where the loop is run."""

    first: subprocess.CompletedProcess[str]
    first_record: Ship
    first_work: Counter[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        for package in ("distill", "export", "bench"):
            (folder / package).mkdir(parents=True)
            (folder / package / "__init__.py").touch()
            (folder / package / "__main__.py").write_text(f"import stand_in\n\nstand_in.main({package!r})\n")
        shutil.copy(Path(__file__).with_name("stand_in.py"), folder)

    def set(self, name: str, value: Any) -> None:
        """A file that the stand-ins look at."""
        (self.folder / name).write_text(value if isinstance(value, str) else json.dumps(value))

    def start(self, *words: str, in_background: bool = False) -> "subprocess.Popen[str]":
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "STAND_IN_GOLDEN": str(ROOT / "tests"),
            "COLUMNS": "200",
            "PATH": str(self.folder),  # nothing that could build an app
        }
        command = [sys.executable, "-P", "-m", "android_demo", "ship", "--out", str(self.out), *words]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=ignore_ctrl_c if in_background else None,
        )

    def ship(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def kill_at(self, work: str, *words: str, with_signal: int = signal.SIGKILL) -> int:
        """Kill the loop in the middle of a piece of work; how it ended. The command that did the work ends, too."""
        self.set("pause-at", work)
        process = self.start(*words, in_background=with_signal == signal.SIGKILL)
        paused = self.folder / "paused"
        deadline = time.monotonic() + PATIENCE_S
        while not paused.is_file():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        working = int(paused.read_text() or "0")
        os.kill(process.pid, with_signal)
        process.communicate()
        while working and Path(f"/proc/{working}").is_dir():
            assert time.monotonic() < deadline, "what a killed session had begun goes on"
            time.sleep(0.01)
        paused.unlink()
        (self.folder / "pause-at").unlink()
        return process.returncode

    def work(self) -> Counter[str]:
        """How often each piece of work was finished."""
        log = self.folder / "work.log"
        return Counter(log.read_text().splitlines() if log.is_file() else [])

    def record(self) -> Ship:
        return Ship.read(self.out / SHIP_FILE)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")
