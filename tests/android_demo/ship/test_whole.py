"""The loop with the real commands, as small as can be: what the stand-ins of the other tests promise is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from android_demo.ship.record import Ship
from distill.checkpoint import find, read_card
from distill.contract import sha256_of_file
from export.artifact.manifest import read_artifact

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[3]
TINY = ("dataset.train_patients=2", "dataset.validation_patients=2", "image.size_px=32", "training.batch_size=20")
TEACHER = ("model=resnet8", "training.epochs=1")


@pytest.mark.slow
def test_a_model_goes_out(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    settings = [f"--set={each}" for each in (*TINY, "device=cpu")]
    teacher = [*settings, *(f"--set={each}" for each in TEACHER), "--out", "teacher"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    assert call("distill", "run", "demo-teacher", *teacher).returncode == 0
    asked = ["--device", "cpu", "--teacher", "teacher", "--students", "resnet8", "--formats", "onnx", "--precisions"]
    asked += ["fp32", "--epochs", "1", "--launches", "1", "--max-latency-ms", "1000", "--time", "1h", "--out", "ship"]
    asked += ["--set=allow_weak_teacher=true", "--set=training.batch_size=20", "--set=device=cpu"]
    done = call("android_demo", "ship", *asked, "--json")
    assert done.returncode == 0, done.stderr
    record = Ship.from_json(done.stdout, source="--json")
    assert record == Ship.read(tmp_path / "ship/ship.json")
    assert record.choice
    winner = record.choice.winner
    assert winner
    assert winner.folder
    manifest = read_artifact(tmp_path / winner.folder)
    assert sha256_of_file(tmp_path / winner.folder / "manifest.json") == winner.manifest_sha256
    assert record.data
    assert (record.data.num_train, record.data.num_validation) == (40, 40)
    cards = {read_card(find(tmp_path / each.run)).weights_sha256 for each in record.trained}
    cards.add(read_card(find(tmp_path / "teacher")).weights_sha256)
    assert manifest.checkpoint_sha256 in cards
    assert (tmp_path / "ship/bundle/bundle.json").is_file()
    assert "What is unproven" in (tmp_path / "ship/ship.html").read_text()
