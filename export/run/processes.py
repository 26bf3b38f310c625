"""Worker processes: what the pool needs of one, and those that have an interpreter of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from distill.system import child_environment, signal_name

WORKER_COMMAND = (sys.executable, "-m", "export.run.worker")


class Process(Protocol):
    """A worker, or the host of a format.

    Attributes:
        pid: also of its process group; None until it is known.
        ended: how, in words, for one that left no word of its own; None while it runs.
    """

    pid: int | None
    ended: str | None

    def kill(self) -> None:
        """End it with every process it started; nothing happens if it has ended. `ended` comes later."""
        ...


class Spawned:
    """A worker with an interpreter of its own."""

    def __init__(self, order: Path, log: Path) -> None:
        with log.open("wb") as noise:
            self._process = subprocess.Popen(
                [*WORKER_COMMAND, str(order)],
                stdin=subprocess.PIPE,  # closes with this process, however it ends: see `export.run.worker`
                stdout=noise,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                process_group=0,
            )
        self.pid: int | None = self._process.pid
        self.ended: str | None = None

    def kill(self) -> None:
        """See `Process.kill`."""
        kill_group(self._process.pid)

    def look(self) -> None:
        """Fill in `ended` if it has."""
        # Without reaping: until then the process keeps its id, so that its group can be killed safely.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self.bury()

    def bury(self) -> None:
        """End whatever is left of it."""
        self.kill()
        self.ended = how_it_died(self._process.wait())
        if self._process.stdin:
            self._process.stdin.close()


class Spawner:
    """Starts every worker afresh, for systems on which a process must not fork."""

    def __init__(self) -> None:
        self._running: list[Spawned] = []

    def is_open(self, format: str) -> bool:
        """Nothing has to be opened."""
        return True

    def start(self, format: str, order: Path, log: Path) -> Spawned:
        """Start a worker."""
        self._running.append(Spawned(order, log))
        return self._running[-1]

    def wait(self, seconds: float) -> None:
        """Find out who has ended, after some seconds."""
        time.sleep(seconds)
        for process in self._running:
            process.look()
        self._running = [process for process in self._running if process.ended is None]

    def close(self) -> None:
        """End everything."""
        for process in self._running:
            process.bury()


def kill_group(pid: int) -> None:
    """End a process with every process it started; nothing happens if it has ended."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(pid, signal.SIGKILL)


def how_it_died(code: int) -> str:
    """A worker that left no ending was ended from below: a native crash, or a converter that called exit()."""
    if code == -signal.SIGKILL:
        return "the converter was ended by SIGKILL, most likely by the system for lack of memory; try --jobs 1"
    if code < 0:
        return f"the converter was ended by {signal_name(-code)}"
    return f"the converter ended its process with exit code {code} before it was done"
