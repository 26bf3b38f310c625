"""The bench's worker, with a runner that works on for as long as the artifact's file `extra_ns` says, if there is one.

Run by benching.py.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import worker
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Runner, open_runner

EXTRA = "extra_ns"


class Slowed:
    """A runner whose calls take some nanoseconds longer."""

    def __init__(self, runner: Runner, extra_ns: int) -> None:
        self.runtime, self.runtime_version, self.threads = runner.runtime, runner.runtime_version, runner.threads
        self._runner, self._extra_ns = runner, extra_ns

    def bind(self, batch: Batch) -> Callable[[], Batch]:
        work, extra_ns, clock = self._runner.bind(batch), self._extra_ns, time.perf_counter_ns

        def call() -> Batch:
            logits = work()
            until = clock() + extra_ns
            while clock() < until:
                pass
            return logits

        return call


def open_slowed(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    runner = open_runner(folder, manifest, threads=threads)
    extra = folder / EXTRA
    return Slowed(runner, int(extra.read_text())) if extra.exists() else runner


if __name__ == "__main__":
    worker.open_runner = open_slowed
    worker.main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
