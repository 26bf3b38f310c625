"""Where a check runs: on a GPU in full, or rehearsed on the CPU with everything as small as it can be."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """What a check needs to know.

    Attributes:
        device: of torch and of `distill`'s setting `device`.
        scratch: a folder of the check's own.
    """

    device: str
    scratch: Path

    @property
    def on_gpu(self) -> bool:
        """False in a rehearsal, whose figures mean nothing."""
        return self.device == "cuda"

    def run(self, package: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m PACKAGE WORDS` to its end, or that of the check's time; both of its outputs are in the result."""
        return subprocess.run([sys.executable, "-m", package, *words], cwd=ROOT, capture_output=True, text=True)

    def start(self, package: str, *words: str) -> subprocess.Popen[bytes]:
        """`python -m PACKAGE WORDS` beside this process; what it prints is dropped."""
        silent = subprocess.DEVNULL
        return subprocess.Popen([sys.executable, "-m", package, *words], cwd=ROOT, stdout=silent, stderr=silent)


def last_words(ended: subprocess.CompletedProcess[str]) -> str:
    """The end of what a process said, for a finding."""
    lines = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    return " ".join(lines[-4:])[-600:]


def small_run(place: Place, *settings: str) -> Sequence[str]:
    """Words of `python -m distill run` for a minute's training at most on a GPU, seconds in a rehearsal."""
    size = ("dataset.train_patients=200", "dataset.validation_patients=50", "training.epochs=6")
    if not place.on_gpu:
        size = ("dataset.train_patients=12", "dataset.validation_patients=4", "training.epochs=3", "image.size_px=32")
    always = (f"device={place.device}", "training.batch_size=64", "teacher.training.epochs=2")
    return ["run", "demo", *(word for setting in (*size, *always, *settings) for word in ("--set", setting))]
