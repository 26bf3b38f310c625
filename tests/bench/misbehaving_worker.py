"""A worker whose runtime does what the model file says: crash, hang, hoard, answer wrongly. Run by test_cpu.py.

Every call that comes back adds its artifact's name to a file `calls` beside the artifacts.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench.cpu import worker
from export.artifact.manifest import Manifest
from export.artifact.runner import RUNNERS, Batch, Bound, RunnerEntry

LATER = 20
"""Number of the call, in the midst of the samples."""


class Runner:
    runtime = "misbehaving"
    runtime_version = "1.0"

    def __init__(self, folder: Path, behaviour: str, golden: Batch, threads: int) -> None:
        self.threads = threads
        self._folder = folder
        self._behaviour = behaviour
        self._golden = golden

    def bind(self, batch: Batch) -> Bound:
        if self._behaviour == "crash":
            print("about to crash", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._behaviour == "hoard":
            self._hoard = [bytearray(50_000_000) for _ in range(1000)]
        if self._behaviour == "hang":
            child = subprocess.Popen(["sleep", "3600"])
            (self._folder / "processes").write_text(f"{os.getpid()} {child.pid}")
            time.sleep(3600)
        if self._behaviour == "raise":
            raise RuntimeError("delegate refused node 17")
        logits = np.resize(self._golden, (len(batch), self._golden.shape[1]))
        if self._behaviour == "wrong":
            logits = logits + np.float32(0.5)
        if self._behaviour == "nan":
            logits = logits * np.float32("nan")

        calls = 0

        def call() -> Batch:
            nonlocal calls
            calls += 1
            if calls == LATER and self._behaviour == "crash later":
                os.kill(os.getpid(), signal.SIGSEGV)
            if calls == LATER and self._behaviour == "hang later":
                time.sleep(3600)
            with (self._folder.parent / "calls").open("a") as log:
                log.write(f"{self._folder.name}\n")
            time.sleep(0.0005)
            return logits

        return Bound(call, call)


def open_model(folder: Path, manifest: Manifest, *, threads: int) -> Runner:
    assert os.environ["OMP_NUM_THREADS"] == str(threads)
    golden = np.load(folder / manifest.file("golden-output"))
    return Runner(folder, (folder / manifest.file("model")).read_text(), golden, threads)


if __name__ == "__main__":
    if (Path(json.loads(Path(sys.argv[1]).read_text())["folder"]) / "model.bin").read_bytes() == b"hang at import":
        time.sleep(3600)
    sys.modules["misbehaving"] = sys.modules["__main__"]
    RUNNERS["torchscript"] = RUNNERS["eager"] = RunnerEntry("misbehaving", "nothing")
    worker.main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
