"""Searches that train: what they say, write and never read, and processes that are killed or share the work."""

import csv
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="optuna is not installed")

from distill import terminal
from distill.__main__ import app
from distill.config import RunConfig, parse, with_overrides
from distill.data import load_data
from distill.errors import UsageError, WorkFailed
from distill.recipes import demo, folder_scratch
from distill.run_folder import CONFIG_FILE
from distill.system import child_environment
from distill.tuning import search, varied
from distill.tuning.record import Search
from distill.tuning.trials import Trials
from distill.vision.datasets.held_back import HeldBack

RATES = "training.optimizer.lr=log:0.001:0.1"
SMALL = ["model=resnet8", "image.size_px=16", "training.batch_size=4", "training.augment={}", "device=cpu"]
EPOCHS = 4


@pytest.fixture
def pictures(picture_folder: Callable[..., Path]) -> Path:
    return picture_folder()


def settings(pictures: Path, *more: str) -> list[str]:
    return [f"dataset.path={json.dumps(str(pictures))}", *SMALL, *more]


def config(pictures: Path, *more: str) -> RunConfig:
    return with_overrides(folder_scratch(), settings(pictures, *more))


def prepared(run: RunConfig, *vary: str, epochs: int = EPOCHS) -> Search:
    asked = varied.parse(vary or [RATES], run, epochs_per_trial=epochs)
    return search.prepare(run, asked, epochs=epochs, held_back=0.2, seed=0)


def command(pictures: Path, out: Path, *options: str) -> list[str]:
    changes = [word for each in settings(pictures) for word in ("--set", each)]
    return ["tune", "folder-scratch", "--vary", RATES, *changes, "--out", str(out), *options]


def run(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["distill", *words])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)


def start(pictures: Path, out: Path, log: Path, *options: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "distill", *command(pictures, out, *options)]
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env=child_environment())


def test_a_rate_that_learns_is_found_and_the_config_runs(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "search"
    options = ["--trials", "3", "--epochs-per-trial", "6"]
    words = [word for word in command(pictures, out, *options) if word not in ("--vary", RATES)]
    words += ["--vary", "training.optimizer.kind=choice:adamw,sgd", "--vary", "training.optimizer.lr=choice:1e-12,0.01"]
    assert run(monkeypatch, words) == 0
    product = Path(capsys.readouterr().out.splitlines()[-1])
    assert product == out / CONFIG_FILE
    best = parse(product.read_bytes(), source=str(product))
    assert best.name == "folder-scratch-tuned"
    assert (best.dataset, best.training.epochs) == (config(pictures).dataset, 30)
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    winner = max(rows, key=lambda row: float(row["score"] or 0))
    assert str(best.training.optimizer.lr) == str(float(winner["training.optimizer.lr"]))
    text = (out / "table.md").read_text()
    assert "on 2 training images that were held back from 10 others; the validation images were not looked at" in text
    assert "Trials had 6 epochs, the run has 30" in text
    assert (out / "search.png").is_file()
    assert (out / "search.svg").read_text().count("training.optimizer.lr") >= 1
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, ["run", str(product), "--set", "training.epochs=1", "--out", "tuned"]) == 0
    assert (tmp_path / "tuned" / "best" / "card.json").is_file()


def test_the_validation_images_are_never_read(pictures: Path, tmp_path: Path) -> None:
    for file in (pictures / "validation").rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot be decoded"):
        load_data(config(pictures))
    made = prepared(config(pictures), epochs=1)
    (trial,) = search.tune(made, tmp_path / "search", 1)
    assert trial.ended == "complete"
    assert (made.data.num_train, made.data.num_validation) == (10, 2)
    kept = parse((tmp_path / "search/trials/1/config.json").read_bytes(), source="trial")
    assert isinstance(kept.dataset, HeldBack)


def test_a_teacher_is_trained_once_on_the_same_part_of_the_training_images(pictures: Path, tmp_path: Path) -> None:
    teacher = ["method.kind=hinton_kd", "teacher.kind=train", "teacher.model=resnet8", "teacher.training.epochs=1"]
    run_ = with_overrides(folder_scratch(), [*settings(pictures), *teacher, "teacher.training.batch_size=4"])
    search.tune(prepared(run_, epochs=1), tmp_path, 2)
    (folder,) = (tmp_path / "trials").glob("teacher-*")
    kept = parse((folder / CONFIG_FILE).read_bytes(), source="teacher")
    assert kept.dataset == HeldBack(of=run_.dataset, share=0.2)
    assert {link.resolve() for link in (tmp_path / "trials").glob("*/teacher")} == {folder.resolve()}


def test_killed_twice_it_ends_with_the_same_trials_as_one_that_was_left_alone(pictures: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "killed", tmp_path / "log.txt"
    options = ("--trials", "4", "--epochs-per-trial", str(EPOCHS))
    for number in (1, 3):
        process = start(pictures, out, log, *options)
        wait_for((out / f"trials/{number}/metrics.jsonl").is_file, process)
        process.kill()
        process.wait()
    made = prepared(config(pictures))
    assert any(trial.ended is None for trial in Trials(out, made).all())
    assert start(pictures, out, log, *options).wait() == 0
    killed = Trials(out, made).all()
    alone = search.tune(made, tmp_path / "alone", 4)
    assert len(killed) == 4
    assert [(trial.values, trial.scores, trial.ended) for trial in killed] == [
        (trial.values, trial.scores, trial.ended) for trial in alone
    ]
    assert (out / CONFIG_FILE).read_text() == (tmp_path / "alone" / CONFIG_FILE).read_text()


def test_a_second_process_shares_the_trials(pictures: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "shared", tmp_path / "log.txt"
    process = start(pictures, out, log, "--trials", "8", "--epochs-per-trial", "30")
    wait_for((out / "trials/1/metrics.jsonl").is_file, process)
    trials = search.tune(prepared(config(pictures), epochs=30), out, 8)
    assert process.wait() == 0
    assert [trial.number for trial in trials] == list(range(1, 9))
    assert all(trial.ended for trial in trials)
    theirs = re.findall(r"^trial (\d+) of 8 ", log.read_text(), re.MULTILINE)
    assert 0 < len(theirs) < 8
    assert len({*theirs}) == len(theirs)


def test_a_search_goes_on_with_more_trials_but_not_with_other_questions(pictures: Path, tmp_path: Path) -> None:
    run_ = config(pictures)
    search.tune(prepared(run_, epochs=1), tmp_path, 1)
    assert len(search.tune(prepared(run_, epochs=1), tmp_path, 2)) == 2
    with pytest.raises(UsageError, match=r"holds another search \(varied: .*Trials of different searches are not"):
        search.tune(prepared(run_, "training.optimizer.lr=log:0.001:1", epochs=1), tmp_path, 2)
    with pytest.raises(UsageError, match=r"holds another search \(epochs: 1 -> 2\)"):
        search.tune(prepared(run_, epochs=2), tmp_path, 2)
    (pictures / "train" / "dark" / "0.png").unlink()
    with pytest.raises(UsageError, match=r"holds another search \(data\.num_train"):
        search.tune(prepared(run_, epochs=1), tmp_path, 2)


def test_settings_that_were_tried_are_not_tried_again(pictures: Path, tmp_path: Path) -> None:
    made = prepared(config(pictures), "training.optimizer.kind=choice:adamw,sgd", epochs=1)
    trials = search.tune(made, tmp_path, 5)
    assert len(trials) == 5
    assert len(list((tmp_path / "trials").glob("*/config.json"))) == 2
    assert len({tuple(trial.scores.items()) for trial in trials}) <= 2


def test_a_trial_that_diverges_is_a_trial_and_none_is_no_result(pictures: Path, tmp_path: Path) -> None:
    made = prepared(config(pictures), "training.optimizer.lr=log:1e30:1e35", epochs=2)
    with pytest.raises(WorkFailed, match=r"none of 2 trials was run to its end; they were diverged"):
        search.tune(made, tmp_path, 2)
    assert [trial.ended for trial in Trials(tmp_path, made).all()] == ["diverged", "diverged"]
    assert not (tmp_path / CONFIG_FILE).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--vary training.optimizer.lr=log:0:1", "0 has no logarithm"),
        ("--vary training.optimizer.lr=log:0.1:0.01", "the lower bound comes first"),
        ("--vary training.optimizer.rate=log:0.01:0.1", "unknown key"),
        ("", "nothing is varied"),
        ("--vary training.optimizer.lr=log:0.01:0.1 --trials 0", "greater than or equal to 1 (found '0')"),
        ("--vary training.optimizer.lr=log:0.01:0.1 --set dataset.path=nowhere", "there is no such folder"),
    ],
)
def test_refusals_come_before_any_work_with_exit_code_2(
    options: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, ["tune", "folder-scratch", *shlex.split(options), "--out", "search"]) == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "search").exists()


def test_teachers_that_cannot_be_had_on_a_part_of_the_images_are_refused(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = with_overrides(
        folder_scratch(), [*settings(pictures), "method.kind=hinton_kd", "teacher.kind=logits", "teacher.path=l.npy"]
    )
    with pytest.raises(UsageError, match="one row for each training image"):
        prepared(table)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="start the same command several times"):
        prepared(config(pictures))


def test_without_optuna_there_is_one_paragraph_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    settings_ = varied.parse([RATES], demo(), epochs_per_trial=1)
    with pytest.raises(UsageError, match=r"needs optuna, which is not installed: pip install 'pocket-distill\[tune\]'"):
        search.prepare(demo(), settings_, epochs=1, held_back=0.2, seed=0)
