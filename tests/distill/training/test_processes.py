"""A run in two real processes (gloo) is the run of one: losses, weights, learned temperature, early stop, resume.

The network has neither dropout nor batch normalisation: both depend on how a batch is divided.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distill import checkpoint
from distill.config import RunConfig, _without_unused, with_overrides
from distill.contract import sha256_of_json
from distill.run_folder import RunFolder, State
from distill.studies import short_demo
from distill.train import train
from tests.distill.methods.toy import OF_PICTURES

TINY = [
    "device=cpu",
    "model=timm:test_convnext",
    "image.size_px=32",
    "dataset.train_patients=8",
    "dataset.validation_patients=3",
    "training.epochs=4",
    "training.batch_size=40",
    "training.optimizer.kind=sgd",
    "training.optimizer.lr=0.05",
]
METHOD_SETTINGS = {
    "hinton_kd": ["method.kind=hinton_kd", "training.epochs=12", "training.early_stopping_patience=1"],
    "curriculum_temperature": [
        "method.kind=curriculum_temperature",
        "method.capped_epochs=2",
        "method.temperature_range=4.0",
    ],
}


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], list[str]]:
    """Assignments for a tiny run of a method, with kept answers of a teacher that is sure of itself and right."""

    def of(method: str) -> list[str]:
        run = short_demo()
        labels = run.dataset.model_copy(update={"train_patients": 8}).load("train", run.preprocess).labels
        np.save(tmp_path / "logits.npy", 6.0 * np.eye(10)[labels])
        return [*TINY, "teacher.kind=logits", f"teacher.path={tmp_path / 'logits.npy'}", *METHOD_SETTINGS[method]]

    return of


def in_two_processes(*words: str) -> subprocess.CompletedProcess[str]:
    """`torchrun --nproc-per-node 2 WORDS`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*torchrun, *words], capture_output=True, text=True, env=environment, check=False)


def distill_in_two_processes(assignments: list[str], path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    changes = [word for assignment in assignments for word in ("--set", assignment)]
    return in_two_processes("-m", "distill", "run", base(path), *changes, "--out", str(path), *more)


def base(path: Path) -> str:
    """The file that a command reads the run from that all settings here are for."""
    file = path.with_suffix(".json")
    file.write_text(short_demo().model_dump_json())
    return str(file)


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(left: Path, right: Path) -> None:
    assert len(rows(left)) == len(rows(right))
    for one, two in zip(rows(left), rows(right), strict=True):
        assert one["losses"] == pytest.approx(two["losses"], abs=2e-5)
        for name in {"temperature", "lambda", "loss"} & one.keys():
            assert one[name] == pytest.approx(two[name], abs=2e-5)
    for which in ("best", "last"):
        found, expected = (checkpoint.load(run / which).model.state_dict() for run in (left, right))
        assert all(torch.allclose(found[key], expected[key], atol=2e-5) for key in expected)


@pytest.mark.slow
def test_a_run_that_stops_early_is_the_same_in_two_processes(
    tmp_path: Path, settings: Callable[[str], list[str]]
) -> None:
    assignments = settings("hinton_kd")
    train(with_overrides(short_demo(), assignments), tmp_path / "one")
    ended = distill_in_two_processes(assignments, tmp_path / "two")
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path / "two", tmp_path / "one")
    epochs = len(rows(tmp_path / "one"))
    assert 1 < epochs < 12
    # One process prints and writes: one path, one line per epoch.
    assert ended.stdout == f"{tmp_path / 'two'}\n"
    assert sum("  epoch " in line for line in ended.stderr.splitlines()) == epochs


@pytest.mark.slow
def test_mixed_and_random_views_averages_and_clipped_gradients_are_the_same_in_two_processes(tmp_path: Path) -> None:
    assignments = [
        *TINY,
        "teacher=null",
        "method.kind=scratch",
        "training.epochs=2",
        "training.label_smoothing=0.1",
        "training.weight_averaging.decay=0.9",
        "training.clip_norm=0.5",
        "training.augment.resized_crop.min_area=0.3",
        "training.augment.policy.kind=rand_augment",
        "training.augment.erasing.pictures=0.5",
        "training.augment.mixup=0.2",
        "training.augment.cutmix=1.0",
    ]
    train(with_overrides(short_demo(), assignments), tmp_path / "one")
    ended = distill_in_two_processes(assignments, tmp_path / "two")
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_a_learned_temperature_is_the_same_in_two_processes_and_after_a_resume(
    tmp_path: Path, settings: Callable[[str], list[str]]
) -> None:
    assignments = settings("curriculum_temperature")
    config = with_overrides(short_demo(), assignments)
    train(config, tmp_path / "one")
    temperatures = [row["temperature"] for row in rows(tmp_path / "one")]
    assert np.ptp(temperatures) > 1e-3  # far more than what is called the same
    ended = distill_in_two_processes(assignments, tmp_path / "two")
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path / "two", tmp_path / "one")

    stopped_after_an_epoch(config, tmp_path / "half")
    ended = distill_in_two_processes(assignments, tmp_path / "half", "--resume")
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path / "half", tmp_path / "one")


def stopped_after_an_epoch(config: RunConfig, path: Path) -> None:
    save = RunFolder.save_state

    def save_and_stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, path)


@pytest.mark.slow
def test_a_step_of_every_method_is_the_same_in_two_processes() -> None:
    ended = in_two_processes("-m", "tests.distill.step_of_two_processes")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{len(OF_PICTURES)} methods agree\n"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_on_gpus_batch_normalisation_sees_the_whole_batch(
    tmp_path: Path, settings: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    more = ["device=cuda", "training.precision=32-true", "model=resnet18", "training.early_stopping_patience=null"]
    assignments = [*settings("hinton_kd"), *more, "training.epochs=1"]
    changes = [word for assignment in assignments for word in ("--set", assignment)]
    one = [sys.executable, "-m", "distill", "run", base(tmp_path / "one"), *changes, "--out", str(tmp_path / "one")]
    subprocess.run(one, check=True)
    ended = distill_in_two_processes(assignments, tmp_path / "two")
    assert ended.returncode == 0, ended.stderr
    found, expected = (rows(tmp_path / name)[0]["losses"] for name in ("two", "one"))
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_identity_of_a_run_knows_nothing_of_processes() -> None:
    """Every key that decides the identity; one more must be left out where unused, or finished runs become unknown."""
    run = short_demo()
    keys = _without_unused(run, run.model_dump(mode="json", exclude={"name", "device", "allow_weak_teacher"}))
    assert set(keys) == {"seed", "dataset", "image", "model", "teacher", "method", "training"}
    assert run.identity() == sha256_of_json(keys)
