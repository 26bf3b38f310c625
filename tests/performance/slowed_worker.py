"""The bench's worker, with a runner whose calls last longer by the share that the artifact's file `extra` says, if any.

Run by benching.py.
"""

import sys
import time
from pathlib import Path

from bench.cpu import worker
from export.artifact.manifest import Manifest
from export.artifact.runner import Batch, Bound, Runner, open_runner

EXTRA = "extra"


class Slowed:
    """A runner that goes on working after each call, for a share of the time the call took."""

    def __init__(self, runner: Runner, share: float) -> None:
        self.runtime, self.runtime_version, self.threads = runner.runtime, runner.runtime_version, runner.threads
        self._runner, self._share = runner, share

    def bind(self, batch: Batch) -> Bound:
        bound, share, clock = self._runner.bind(batch), self._share, time.perf_counter_ns

        def run() -> None:
            began = clock()
            bound.run()
            until = (now := clock()) + share * (now - began)
            while clock() < until:
                pass

        return Bound(run, bound.logits)


def open_slowed(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    runner = open_runner(folder, manifest, threads=threads)
    extra = folder / EXTRA
    return Slowed(runner, float(extra.read_text())) if extra.exists() else runner


if __name__ == "__main__":
    worker.open_runner = open_slowed
    worker.main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
