"""A run belongs to its data; what replaces it takes nothing away before it has something to keep."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill import checkpoint, terminal
from distill.__main__ import app
from distill.config import CheckpointTeacher, RunConfig, with_overrides
from distill.contract import sha256_of_file
from distill.data import load_data
from distill.errors import UsageError, WorkFailed
from distill.recipes import folder_kd, folder_scratch
from distill.run_folder import REPLACED, RunData, RunFolder, State
from distill.train import train

TINY = [
    "model=torchvision:shufflenet_v2_x0_5",
    "image.size_px=32",
    "training.epochs=1",
    "training.batch_size=8",
    "training.augment.crop_padding_px=0",
    "training.augment.horizontal_flip=false",
    "device=cpu",
]
TEACHER = ["teacher.model=torchvision:shufflenet_v2_x0_5", "teacher.training.epochs=1", "teacher.training.batch_size=8"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train", "validation")):
        for number, name in enumerate(("dark", "light")):
            draw(tmp_path / "pictures" / split / name, brightness=190 * number, seed=seed)
    return tmp_path / "pictures"


def draw(folder: Path, *, brightness: int, count: int = 6, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, brightness])
    for index in range(count):
        pixels = rng.integers(0, 60, (40, 40, 3)) + brightness
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{seed}-{index}.png")


def scratch(pictures: Path, *more: str) -> RunConfig:
    return with_overrides(folder_scratch(), [*TINY, f"dataset.path={pictures}", *more])


def taught(pictures: Path, *more: str) -> RunConfig:
    return with_overrides(folder_kd(), [*TINY, *TEACHER, f"dataset.path={pictures}", *more])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def add_class(pictures: Path) -> None:
    for seed, split in enumerate(("train", "validation")):
        draw(pictures / split / "middle", brightness=90, seed=seed)


def swap_labels(pictures: Path) -> None:
    for split in ("train", "validation"):
        (pictures / split / "dark").rename(pictures / split / "x")
        (pictures / split / "light").rename(pictures / split / "dark")
        (pictures / split / "x").rename(pictures / split / "light")


def rename_class(pictures: Path) -> None:
    for split in ("train", "validation"):
        (pictures / split / "dark").rename(pictures / split / "night")


def add_pictures(pictures: Path) -> None:
    draw(pictures / "train" / "dark", brightness=0, count=2, seed=7)


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (add_class, "class middle is new; 12 train images then, 18 now"),
    (swap_labels, "other train images or labels"),
    (rename_class, "class night is new; class dark is gone"),
    (add_pictures, "12 train images then, 14 now"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_finished_counts_only_for_the_same_data(
    tmp_path: Path, pictures: Path, change: Callable[[Path], None], words: str
) -> None:
    train(scratch(pictures), tmp_path / "run")
    before = contents(tmp_path / "run")
    change(pictures)
    with pytest.raises(UsageError, match=words):
        train(scratch(pictures), tmp_path / "run")
    assert contents(tmp_path / "run") == before
    train(scratch(pictures), tmp_path / "run", restart=True)
    assert contents(tmp_path / "run").keys() == before.keys()


def test_an_unfinished_run_is_not_gone_on_with_on_other_data(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch(pictures, "training.epochs=2")
    begin_and_stop(config, tmp_path / "run", monkeypatch)
    add_pictures(pictures)
    with pytest.raises(UsageError, match=r"run on other data than .*pictures holds now: 12 train images then, 14 now"):
        train(config, tmp_path / "run", resume=True)


def begin_and_stop(config: RunConfig, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train one epoch, as if the session were killed then."""
    save = RunFolder.save_state

    def save_and_stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        if folder.path == path:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, path)


def test_an_unfinished_run_is_not_gone_on_with_under_another_teacher(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(scratch(pictures), tmp_path / "guest")
    guest = CheckpointTeacher(path=str(tmp_path / "guest"))
    config = taught(pictures, "training.epochs=2", "allow_weak_teacher=true").model_copy(update={"teacher": guest})
    begin_and_stop(config, tmp_path / "run", monkeypatch)
    train(scratch(pictures, "seed=1"), tmp_path / "guest", restart=True)
    with pytest.raises(UsageError, match="was begun with another teacher"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("change", [add_class, swap_labels])
def test_a_teacher_of_other_data_is_left_alone_and_another_trained(
    tmp_path: Path, pictures: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = taught(pictures)
    train(config, tmp_path / "one")
    old = tmp_path / config.teacher_run().name
    before = contents(old)
    change(pictures)
    card = train(taught(pictures, "seed=3"), tmp_path / "two")
    assert contents(old) == before
    assert "it learnt from other data" in capsys.readouterr().err
    new = (tmp_path / "two" / "teacher").resolve()
    assert new != old.resolve()
    teacher = checkpoint.load(new).card
    assert card.training is not None
    assert teacher.training is not None
    assert card.training.teacher_sha256 == teacher.weights_sha256
    assert card.training.data.train_sha256 == teacher.training.data.train_sha256
    train(taught(pictures, "seed=4"), tmp_path / "three")
    assert (tmp_path / "three" / "teacher").resolve() == new


@pytest.mark.parametrize(
    "slip",
    ["dataset.path=nowhere", "model=torchvision:no_such", "dataset.patients_csv=no.csv", "device=cuda"],
)
def test_a_slip_costs_the_old_run_nothing(tmp_path: Path, pictures: Path, slip: str) -> None:
    if slip == "device=cuda" and torch.cuda.is_available():
        slip = "image.size_px=9"
    train(scratch(pictures), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError):
        train(scratch(pictures, slip), tmp_path / "run", restart=True)
    assert contents(tmp_path / "run") == before


def test_a_restart_that_fails_in_its_first_epoch_costs_the_old_run_nothing(tmp_path: Path, pictures: Path) -> None:
    train(taught(pictures), tmp_path / "run")
    before = contents(tmp_path / "run")
    broken = taught(pictures, "training.optimizer.lr=1e30", "training.schedule.warmup_epochs=0")
    with pytest.raises(WorkFailed):
        train(broken, tmp_path / "run", restart=True)
    assert contents(tmp_path / "run") == before
    assert (tmp_path / "run" / "teacher").is_symlink()


def test_a_restart_removes_what_a_run_wrote_and_nothing_else(tmp_path: Path, pictures: Path) -> None:
    config = scratch(pictures, "method.kind=deep_mutual_learning", "method.cohort=2")
    train(config, tmp_path / "run")
    own = {tmp_path / "run" / name for name in ("notes.txt", "best/notes.txt", "figures/a.png")}
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    card = train(scratch(pictures, "seed=1"), tmp_path / "run", restart=True)
    assert all(path.read_text() == "mine" for path in own)
    assert checkpoint.load(tmp_path / "run").card == card
    assert not (tmp_path / "run" / "members").exists()
    assert not (tmp_path / "run" / REPLACED).exists()


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "site" / "best").mkdir(parents=True)
    (tmp_path / "site" / "config.json").write_text('{"port": 80}')
    (tmp_path / "site" / "best" / "card.json").write_text("a birthday card")
    before = contents(tmp_path / "site")
    for restart in (False, True):
        with pytest.raises(UsageError, match=r"config\.json that is not of a run of this version, and is left"):
            train(scratch(pictures), tmp_path / "site", restart=restart)
    assert contents(tmp_path / "site") == before


def test_a_checkpoint_without_its_run_is_not_overwritten(tmp_path: Path, pictures: Path) -> None:
    train(scratch(pictures), tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds a checkpoint, but .* has no config\.json"):
        train(scratch(pictures), tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_a_restart_that_is_killed_while_it_moves_brings_the_old_run_back(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(scratch(pictures), tmp_path / "run")
    before = contents(tmp_path / "run")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            train(scratch(pictures, "seed=1"), tmp_path / "run", restart=True)
    assert (tmp_path / "run" / REPLACED / "best" / checkpoint.WEIGHTS_FILE).is_file()
    card = train(scratch(pictures), tmp_path / "run")
    assert card.training is not None
    assert card.training.finished
    assert contents(tmp_path / "run") == before


class Killed(BaseException):
    """No handler catches it, as none catches SIGKILL."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], bool]:
    """killed_at(N, WORK): do the work, but end before the N-th move of a file or folder; False if there are fewer."""

    def killed(at: int, work: Callable[[], object]) -> bool:
        left = at
        plain = {name: getattr(Path, name) for name in ("replace", "rename")}

        def counted(name: str) -> Callable[[Path, Path], Path]:
            def move(source: Path, target: Path) -> Path:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return plain[name](source, target)

            return move

        with monkeypatch.context() as patch:
            for name in plain:
                patch.setattr(Path, name, counted(name))
            try:
                work()
            except Killed:
                return True
        return False

    return killed


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_restart_killed_between_any_two_moves_costs_the_old_run_nothing(
    tmp_path: Path, pictures: Path, killed_at: Callable[[int, Callable[[], object]], bool], unfinished: bool
) -> None:
    """Nor does it if the session that brings the run back is killed as well, wherever it is."""
    old, new, run = scratch(pictures), scratch(pictures, "seed=1"), tmp_path / "run"
    data = RunData.of(load_data(old))
    for name in ("best/card.json", "best/weights.safetensors", "last/card.json", "metrics.jsonl", "report.html"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    (run / "config.json").write_text(old.model_dump_json())

    def begin(config: RunConfig, *, restart: bool) -> None:
        folder = RunFolder(run, config)
        with suppress(UsageError):  # an unfinished run wants to know whether to go on
            folder.open(data, resume=False, restart=restart)
            folder.begin(None, None, resumed=False)
            folder.save_state(State(epoch=1))

    if unfinished:
        begin(old, restart=False)
    before = contents(run)
    shutil.copytree(run, tmp_path / "copy")
    first = 0
    while killed_at(first, lambda: begin(new, restart=True)):
        second = 0
        while killed_at(second, lambda: RunFolder(run, old)._tidy_up()):
            second += 1
        assert contents(run) == before
        first += 1
    assert first > len(before)
    assert RunFolder(run, new)._holds_same_config()


def test_a_run_that_cannot_be_moved_stays_where_it_was(tmp_path: Path, pictures: Path) -> None:
    train(scratch(pictures), tmp_path / "run")
    (tmp_path / "run" / REPLACED).write_text("somebody else's file")
    before = contents(tmp_path / "run")
    with pytest.raises(WorkFailed, match=r"cannot move the run in .* out of the way: .*Nothing of it was removed"):
        train(scratch(pictures, "seed=1"), tmp_path / "run", restart=True)
    assert contents(tmp_path / "run") == before


def test_a_run_goes_on_without_links(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(os, "symlink", refused)
    card = train(taught(pictures), tmp_path / "run")
    assert card.training is not None
    assert card.training.finished


def test_a_copy_that_resolved_the_link_goes_on(tmp_path: Path, pictures: Path) -> None:
    train(taught(pictures), tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "copy" / "best" / checkpoint.CARD_FILE).unlink()
    teacher = contents(tmp_path / "copy" / "teacher")
    train(taught(pictures), tmp_path / "copy", resume=True)
    assert contents(tmp_path / "copy" / "teacher") == teacher
    weights = [tmp_path / name / "best" / checkpoint.WEIGHTS_FILE for name in ("run", "copy")]
    assert sha256_of_file(weights[0]) == sha256_of_file(weights[1])


def test_a_moved_run_finds_its_data_again(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *command("folder-scratch", scratch_settings("pictures")), "--out", "run") == 0
    (tmp_path / "elsewhere").mkdir()
    pictures.rename(tmp_path / "elsewhere" / "photos [new]")
    capsys.readouterr()
    assert call(monkeypatch, "evaluate", "run") == 2
    said = words(capsys)
    assert "The run's data were in 'pictures', relative to the folder that the run was started in." in said
    assert "name the place: --data FOLDER" in said
    assert call(monkeypatch, "evaluate", "run", "--data", "elsewhere/photos [new]", "--json") == 0
    assert call(monkeypatch, "evaluate", "run", "--data", "elsewhere/photos [new]", "--calibrate") == 0
    swap_labels(tmp_path / "elsewhere" / "photos [new]")
    capsys.readouterr()
    assert call(monkeypatch, "evaluate", "run", "--data", "elsewhere/photos [new]") == 2
    assert "are not those this checkpoint was trained with" in words(capsys)


def test_a_run_goes_on_where_its_data_have_moved_to_and_no_teacher_is_trained_anew(
    tmp_path: Path, pictures: Path
) -> None:
    more = ["training.epochs=2"]
    train(taught(pictures, *more), tmp_path / "whole" / "run")
    train(taught(pictures, *more), tmp_path / "part" / "run", stop_after=1)
    teacher = contents(tmp_path / "part" / "run" / "teacher")
    elsewhere = pictures.rename(tmp_path / "elsewhere")
    train(taught(elsewhere, *more), tmp_path / "part" / "run", resume=True)
    assert contents(tmp_path / "part" / "run" / "teacher") == teacher
    weights = [tmp_path / name / "run" / "best" / checkpoint.WEIGHTS_FILE for name in ("whole", "part")]
    assert sha256_of_file(weights[0]) == sha256_of_file(weights[1])
    add_pictures(elsewhere)
    with pytest.raises(UsageError, match="12 train images then, 14 now"):
        train(taught(elsewhere.rename(pictures), *more), tmp_path / "part" / "run")


def test_runs_on_other_pictures_have_other_folders(tmp_path: Path) -> None:
    here, there = scratch(tmp_path / "here"), scratch(tmp_path / "there")
    assert here.identity() == there.identity()
    assert here.folder_name() != there.folder_name()


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said, without the frame."""
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def scratch_settings(pictures: str) -> list[str]:
    return [*TINY, f"dataset.path={pictures}"]


def command(recipe: str, settings: list[str]) -> list[str]:
    return ["run", recipe, *(word for setting in settings for word in ("--set", setting))]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `python -m distill WORDS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["distill", *words])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_weights_that_blow_up_are_told_with_what_is_kept(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch statistics of huge activations are harmless in train mode and overflow in validation."""
    config = scratch(pictures, "training.epochs=2")
    begin_and_stop(config, tmp_path / "run", monkeypatch)
    state = torch.load(tmp_path / "run" / "resume.pt", weights_only=True)
    for name, value in state["model"].items():
        if name.endswith("running_var"):
            value.fill_(-1.0)  # momentum leaves it negative, so its root is NaN
    torch.save(state, tmp_path / "run" / "resume.pt")
    with pytest.raises(WorkFailed, match=r"NaN or infinity for 12 of 12 images\. The state after epoch 1 is kept"):
        train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "resume.pt").is_file()
    assert checkpoint.load(tmp_path / "run").card.training is not None
