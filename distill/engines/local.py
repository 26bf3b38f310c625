"""Cells as processes of this machine, so many at a time."""

import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from distill.engines.cell_process import failure_of, start_cell, stop
from distill.engines.engine import LOOK_EVERY_S, Ended, Event, Options, Quiet, Started
from distill.system import usable_cores


@contextmanager
def open_engine(study_file: Path, options: Options) -> Iterator["LocalEngine"]:
    """The engine with `options.jobs` runs at once, one by default; any folder will do."""
    options.allow("local", "jobs")
    yield LocalEngine(options.jobs or 1)


@dataclass(frozen=True)
class LocalEngine:
    """Runs cells in child processes.

    Attributes:
        jobs: at once.
    """

    jobs: int

    def run(self, folders: Sequence[Path]) -> Iterator[Event]:
        """See `Engine`."""
        waiting = deque(folders)
        running: dict[Path, subprocess.Popen[bytes]] = {}
        at_once = min(self.jobs, len(folders))
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    folder = waiting.popleft()
                    conditions = f"{at_once} at a time"
                    running[folder] = start_cell(folder, threads=_share(at_once), conditions=conditions)
                    yield Started(folder)
                with suppress(subprocess.TimeoutExpired):
                    next(iter(running.values())).wait(timeout=LOOK_EVERY_S)
                for folder, process in list(running.items()):
                    if process.poll() is not None:
                        del running[folder]
                        yield Ended(folder, failure_of(folder, process.returncode))
                yield Quiet()
        finally:
            for process in running.values():
                stop(process)


def _share(jobs: int) -> int:
    """An equal share of the cores this process may use."""
    return max(1, usable_cores() // jobs)
