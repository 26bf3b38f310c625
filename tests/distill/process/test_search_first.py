"""A run that searches its process first: killed in the search, resumed, followed; and what is refused or diverges."""

from pathlib import Path
from typing import Any

import pytest

from distill import checkpoint
from distill.config import RunConfig, with_overrides
from distill.contract import sha256_of_file
from distill.errors import Diverged, UsageError
from distill.process.record import PROCESS_FILE, Process
from distill.run_folder import RunFolder, State
from distill.studies import short_demo
from distill.train import train
from tests.conftest import MakeOnce
from tests.distill.conftest import TeacherIn
from tests.distill.process.test_use import process

TINY = [
    "model=resnet8",
    "teacher.model=resnet8",
    "teacher.training.epochs=1",
    "teacher.image.size_px=32",
    "image.size_px=32",
    "dataset.train_patients=8",
    "dataset.validation_patients=3",
    "training.epochs=2",
    "training.batch_size=40",
    "device=cpu",
    "method.kind=distpro",
    "method.process.epochs=2",
    "method.grid.pairs=lower_to_higher",
    'method.grid.transforms=["two_convolutions"]',
]


def tiny(*more: str) -> RunConfig:
    return with_overrides(short_demo(), [*TINY, *more])


@pytest.fixture(scope="module")
def whole(make_once: MakeOnce) -> Path:
    """The folder of a run that nothing has stopped, with its teacher and its search beside. Do not write into it."""
    return make_once("distpro", lambda path: train(tiny(), path / "run"))


def searched(folder: Path) -> Path:
    (found,) = folder.glob(f"search-*/{PROCESS_FILE}")
    return found


def test_the_search_is_killed_and_resumed_to_the_same_process_and_the_run_to_the_same_bits(
    tmp_path: Path, whole: Path, teacher_in: TeacherIn
) -> None:
    teacher_in(tmp_path, tiny())
    save, saved = RunFolder.save_state, []

    def stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        saved.append((folder.path.name.partition("-")[0], state.epoch))
        if saved[-1] in (("search", 1), ("run", 1)):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_state", stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                train(tiny(), tmp_path / "run", resume=True)
    train(tiny(), tmp_path / "run", resume=True)
    assert saved == [("search", 1), ("search", 2), ("run", 1)]
    assert searched(tmp_path).read_bytes() == searched(whole).read_bytes()
    files = (folder / "run" / "last" / checkpoint.WEIGHTS_FILE for folder in (tmp_path, whole))
    assert len({sha256_of_file(file) for file in files}) == 1


def test_the_process_says_where_it_comes_from_and_the_run_which_one_it_followed(whole: Path) -> None:
    found = Process.read(searched(whole))
    assert (len(found.raw), len(found.pathways)) == (2, 6)
    assert (found.searched.student, found.searched.teacher, found.searched.num_train) == ("resnet8", "resnet8", 160)
    (teacher,) = whole.glob("teacher-*")
    assert found.searched.teacher_sha256 == checkpoint.read_card(teacher / "best").weights_sha256
    assert any(factor != 1 for row in found.raw for factor in row)
    assert searched(whole).with_name("process.png").stat().st_size > 1000
    training = checkpoint.read_card(whole / "run" / "best").training
    assert training is not None
    method: Any = training.config["method"]
    assert method["process"]["sha256"] == sha256_of_file(searched(whole))
    keys = checkpoint.load(whole / "run").model.state_dict().keys()
    assert all(key.startswith("network.") for key in keys)


def test_its_file_is_followed_without_a_search_to_the_same_bits(
    tmp_path: Path, whole: Path, teacher_in: TeacherIn
) -> None:
    config = tiny(f"method.process={searched(whole)}")
    teacher_in(tmp_path, config)
    train(config, tmp_path / "run")
    assert not list(tmp_path.glob("search-*"))
    files = (folder / "run" / "last" / checkpoint.WEIGHTS_FILE for folder in (tmp_path, whole))
    assert len({sha256_of_file(file) for file in files}) == 1


def test_a_process_of_another_grid_and_too_few_patients_are_refused_before_a_teacher_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    other = tiny().method.grid.model_copy(update={"stem": True})  # type: ignore[union-attr]
    process(other, levels=2).write(file)
    with pytest.raises(UsageError, match=r"3 pathways .* this run has 10 pathways"):
        train(tiny(f"method.process={file}"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"distpro_search holds 20 % .* too few patients to divide 80 images"):
        train(tiny("dataset.train_patients=4"), tmp_path / "run")
    assert not list(tmp_path.glob("teacher*"))


def test_a_search_that_diverges_says_so_and_leaves_no_process(tmp_path: Path, teacher_in: TeacherIn) -> None:
    config = tiny("training.optimizer.lr=1e30", "training.schedule.warmup_epochs=0")
    teacher_in(tmp_path, config)
    with pytest.raises(Diverged, match=r"no longer finite .*distpro_search"):
        train(config, tmp_path / "run")
    assert not list(tmp_path.glob("search-*/process*"))
    assert not (tmp_path / "run").exists()
