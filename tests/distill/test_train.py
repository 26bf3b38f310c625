"""The loop itself: it learns, it leaves the teacher alone, it resumes to the bit, it stops in words."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from distill import checkpoint, terminal
from distill.__main__ import app
from distill.checkpoint import Metrics
from distill.config import CheckpointTeacher, LogitsTeacher, RunConfig, parse, with_overrides
from distill.contract import sha256_of_file
from distill.data import load_data
from distill.errors import UsageError, WorkFailed
from distill.evaluation import calibration, evaluate
from distill.recipes import from_scratch
from distill.run_folder import RunFolder, State
from distill.studies import short_demo
from distill.teachers import teacher as teachers
from distill.teachers.teacher import Teacher
from distill.train import advance, train
from distill.training.batches import Batches
from distill.vision import cache
from distill.vision.tasks import Measure
from tests.conftest import MakeOnce
from tests.distill.conftest import TeacherIn

TINY = [
    "model=torchvision:shufflenet_v2_x0_5",
    "image.size_px=32",
    "dataset.train_patients=8",
    "dataset.validation_patients=3",
    "training.epochs=3",
    "training.batch_size=40",
    "device=cpu",
    "allow_weak_teacher=true",  # three epochs on 160 images teach little
]


def tiny_scratch(*more: str) -> RunConfig:
    return with_overrides(from_scratch(short_demo(), "demo-scratch"), [*TINY, *more])


def tiny_kd(*more: str) -> RunConfig:
    teacher = ["teacher.model=torchvision:shufflenet_v2_x0_5", "teacher.training.epochs=2"]
    return with_overrides(short_demo(), [*TINY, *teacher, *more])


def weights(run: Path, which: str = "last") -> str:
    return sha256_of_file(run / which / checkpoint.WEIGHTS_FILE)


@pytest.fixture(scope="module")
def finished(make_once: MakeOnce) -> Path:
    """A run of `tiny_scratch()`. Do not write into it."""
    return make_once("finished", lambda path: train(tiny_scratch(), path))


def test_a_run_learns_and_says_everything_of_itself(tmp_path: Path) -> None:
    config = tiny_scratch("training.epochs=6", "training.optimizer.lr=0.005", "dataset.train_patients=16")
    card = train(config, tmp_path / "run")
    assert card.training is not None
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["losses"]["label"] < rows[0]["losses"]["label"]
    assert card.training.best.accuracy == max(row["accuracy"] for row in rows)
    assert card.training.last.epoch == 6
    assert card.training.finished
    assert checkpoint.load(tmp_path / "run" / "last").card.training.epoch == 6
    assert not (tmp_path / "run" / "resume.pt").exists()


def test_a_run_is_repeated_exactly_from_its_own_config(finished: Path, tmp_path: Path) -> None:
    config = parse((finished / "config.json").read_bytes(), source="config.json")
    train(config, tmp_path / "again")
    assert weights(finished) == weights(tmp_path / "again")


def test_a_finished_run_is_not_repeated(finished: Path) -> None:
    before = (finished / "best" / "card.json").stat().st_mtime_ns
    train(tiny_scratch(), finished)
    assert (finished / "best" / "card.json").stat().st_mtime_ns == before


def test_whether_a_run_is_finished_is_learnt_from_its_card_and_not_by_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = train(tiny_scratch("training.epochs=1"), tmp_path / "run")
    monkeypatch.delattr(checkpoint, "load")
    folder = RunFolder(tmp_path / "run", tiny_scratch("training.epochs=1"))
    assert folder.finished() == card
    assert RunFolder(tmp_path / "run", tiny_scratch("training.epochs=2")).finished() is None
    (tmp_path / "run" / "best" / checkpoint.WEIGHTS_FILE).write_bytes(b"cut off")
    with pytest.raises(UsageError, match="does not match its card"):
        folder.finished()


def test_a_run_that_is_told_to_stand_still_goes_on_to_the_same_bits(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = train(tiny_scratch(), run, stop_after=2)
    assert first.training is not None
    assert (first.training.finished, first.training.epoch <= 2) == (False, True)
    before = (run / "resume.pt").stat().st_mtime_ns
    assert train(tiny_scratch(), run, resume=True, stop_after=2) == first
    assert (run / "resume.pt").stat().st_mtime_ns == before, "an epoch was trained that nobody asked for"
    last = train(tiny_scratch(), run, resume=True, stop_after=10)
    assert last.training is not None
    assert last.training.finished
    assert weights(run) == weights(finished)


def test_a_folder_with_another_run_is_refused_and_the_difference_named(finished: Path) -> None:
    with pytest.raises(UsageError, match=r"training\.epochs: 3 -> 4"):
        train(tiny_scratch("training.epochs=4"), finished)


def test_the_teacher_is_trained_once_and_its_bytes_stay_the_same(tmp_path: Path) -> None:
    config = tiny_kd()
    train(config, tmp_path / "one")
    teacher_run = tmp_path / config.teacher_run().name
    before = {path: path.read_bytes() for path in teacher_run.rglob("*") if path.is_file()}
    card = train(tiny_kd("method.temperature=4.0"), tmp_path / "two")
    assert {path: path.read_bytes() for path in teacher_run.rglob("*") if path.is_file()} == before
    assert (tmp_path / "two" / "teacher").resolve() == teacher_run
    assert card.training is not None
    assert card.training.teacher_sha256 == weights(teacher_run, "best")


@pytest.mark.parametrize("padding", [0, 2])
def test_the_teacher_in_memory_is_unchanged_by_training(
    finished: Path, tmp_path: Path, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked once (no augmentation) or at every step: parameters and batch-norm statistics stay bit-identical."""
    loaded: list[torch.nn.Module] = []
    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda path: loaded.append(load(path).model) or _again(load(path), loaded))
    config = tiny_kd("allow_weak_teacher=true", f"training.augment.crop_padding_px={padding}").model_copy(
        update={"teacher": CheckpointTeacher(path=str(finished))}
    )
    train(config, tmp_path / "student")
    fresh = load(finished).model.state_dict()
    used = loaded[0].state_dict()
    assert all(torch.equal(used[key], fresh[key]) for key in fresh)
    assert not any(module.training for module in loaded[0].modules())


def _again(found: checkpoint.Checkpoint, loaded: list[torch.nn.Module]) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(found.card, loaded[-1], found.folder)  # type: ignore[arg-type]


def test_every_member_of_a_cohort_is_saved_and_the_best_is_the_product(tmp_path: Path) -> None:
    config = tiny_scratch("method.kind=deep_mutual_learning", "method.cohort=2", "training.epochs=2")
    card = train(config, tmp_path / "run")
    members = [checkpoint.load(tmp_path / "run" / "members" / number) for number in ("1", "2")]
    assert members[0].card.weights_sha256 != members[1].card.weights_sha256
    assert weights(tmp_path / "run") in {member.card.weights_sha256 for member in members}
    assert card.training is not None
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]["losses"]) == {"label", "mutual"}
    assert card.training.best.accuracy == max(row["accuracy"] for row in rows)


def test_a_sum_of_methods_trains_and_is_recorded_by_their_names(tmp_path: Path, teacher_in: TeacherIn) -> None:
    parts = [
        {"method": {"kind": "scratch"}, "weight": 0.5},
        {"method": {"kind": "curriculum_temperature", "alpha": 1.0, "capped_epochs": 1}},
    ]
    changes = ("training.epochs=2", "training.optimizer.lr=0.001")
    config = tiny_kd("method.kind=weighted_sum", f"method.parts={json.dumps(parts)}", *changes)
    teacher_in(tmp_path, config)
    card = train(config, tmp_path / "run")
    assert card.training is not None
    assert card.training.method == "weighted_sum"
    first, second = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    names = {"scratch.label", "curriculum_temperature.soft", "curriculum_temperature.label"}
    assert first["losses"].keys() == names
    assert second["losses"]["scratch.label"] < first["losses"]["scratch.label"]
    assert first["curriculum_temperature.temperature"] != second["curriculum_temperature.temperature"]


@pytest.mark.parametrize("padding", [0, 2])
def test_the_student_of_a_cross_quality_run_takes_small_images_and_its_teacher_large_ones(
    tmp_path: Path, padding: int
) -> None:
    changes = ("teacher.image.size_px=48", "method.kind=cross_quality_kd", "training.epochs=1")
    config = tiny_kd(*changes, f"training.augment.crop_padding_px={padding}")
    card = train(config, tmp_path / "run")
    assert card.preprocess.size_px == 32
    assert checkpoint.load(tmp_path / "run" / "teacher").card.preprocess.size_px == 48


def test_cross_quality_needs_a_teacher_that_sees_more(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the teacher sees 32 px, the student 32 px"):
        train(tiny_kd("method.kind=cross_quality_kd"), tmp_path / "run")


def test_a_learned_temperature_moves_is_recorded_and_survives_a_resume(tmp_path: Path, teacher_in: TeacherIn) -> None:
    settings = ["method.kind=curriculum_temperature", "method.capped_epochs=1", "training.optimizer.lr=0.01"]
    teacher_in(tmp_path, tiny_kd())
    train(tiny_kd(*settings), tmp_path / "whole")
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    temperatures = [row["temperature"] for row in rows]
    assert len(set(temperatures)) == len(temperatures)
    assert all(row["lambda"] == 1 for row in rows)

    folder = RunFolder(tmp_path / "half", tiny_kd(*settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_state", stop_after_second_epoch(RunFolder.save_state))
        with pytest.raises(KeyboardInterrupt):
            train(folder.config, folder.path)
    train(folder.config, folder.path, resume=True)
    assert weights(tmp_path / "half") == weights(tmp_path / "whole")


RECIPES_OF_TODAY = [
    [
        "training.weight_averaging.decay=0.9",
        "training.clip_norm=0.5",
        "training.schedule.kind=one_cycle",
        "training.augment.crop_padding_px=2",
        "training.augment.policy.kind=rand_augment",
        "training.augment.erasing.pictures=0.5",
    ],
    ["training.weight_averaging.decay=0.9", "training.augment.crop_padding_px=2", "training.augment.kept_views=2"],
    [
        "training.augment.mixup=0.2",
        "training.augment.cutmix=1.0",
        "training.label_smoothing=0.1",
        "training.class_weights=balanced",
        "training.sampling=balanced",
        "training.judged_by=macro_f1",
    ],
]


@pytest.mark.parametrize("settings", RECIPES_OF_TODAY)
def test_averages_clipped_gradients_and_views_resume_to_the_same_bits(
    tmp_path: Path, settings: list[str], teacher_in: TeacherIn
) -> None:
    teacher_in(tmp_path, tiny_kd())
    whole = train(tiny_kd(*settings), tmp_path / "whole")
    folder = RunFolder(tmp_path / "half", tiny_kd(*settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save_state", stop_after_second_epoch(RunFolder.save_state))
        with pytest.raises(KeyboardInterrupt):
            train(folder.config, folder.path)
    half = train(folder.config, folder.path, resume=True)
    assert weights(tmp_path / "half") == weights(tmp_path / "whole")
    assert whole.training
    assert half.training
    assert whole.training.last == half.training.last


def test_the_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    config = tiny_scratch("training.weight_averaging.decay=0.97")
    card = train(config, tmp_path / "averaged")
    train(tiny_scratch(), tmp_path / "plain")
    averaged, plain = (checkpoint.load(tmp_path / name / "last").model for name in ("averaged", "plain"))
    assert not torch.equal(averaged.state_dict()["network.fc.weight"], plain.state_dict()["network.fc.weight"])
    validation = Batches(
        config.dataset.load("validation", config.preprocess), batch_size=64, device=torch.device("cpu")
    )
    assert card.training
    assert evaluate.evaluate(averaged, validation, epoch=3).loss == pytest.approx(card.training.last.loss, rel=1e-4)


def test_the_epoch_with_the_best_f1_is_kept_where_it_judges() -> None:
    def advanced(judged_by: Literal["accuracy", "macro_f1"]) -> State:
        state = State()
        for epoch, (accuracy, macro_f1) in enumerate([(0.5, 0.7), (0.6, 0.6), (0.6, 0.8)], start=1):
            advance(
                state,
                Metrics(epoch=epoch, accuracy=accuracy, macro_f1=macro_f1, ece=0, entropy_nats=0, loss=1),
                {},
                Measure(judged_by, judged_by, "%"),
            )
        return state

    assert advanced("accuracy").best.epoch == 2  # type: ignore[union-attr]
    assert advanced("macro_f1").best.epoch == 3  # type: ignore[union-attr]
    assert advanced("macro_f1").stale_epochs == 0
    assert advanced("accuracy").stale_epochs == 1


def test_a_shorter_gradient_trains_other_weights(tmp_path: Path) -> None:
    slow = ["training.epochs=1", "training.optimizer.kind=sgd"]
    train(tiny_scratch(*slow), tmp_path / "free")
    train(tiny_scratch(*slow, "training.clip_norm=1000"), tmp_path / "never")
    train(tiny_scratch(*slow, "training.clip_norm=0.01"), tmp_path / "always")
    assert weights(tmp_path / "free") == weights(tmp_path / "never") != weights(tmp_path / "always")


def test_a_teacher_is_asked_once_for_each_kept_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny_scratch("training.epochs=1"), tmp_path / "teacher")
    views = ["training.epochs=5", "training.augment.crop_padding_px=2", "training.augment.kept_views=2"]
    base = tiny_kd("allow_weak_teacher=true", *views).model_copy(
        update={"teacher": CheckpointTeacher(path=str(tmp_path / "teacher"))}
    )
    asked: list[tuple[int, ...]] = []

    def load(*arguments: Any, **named: Any) -> Teacher:
        found = load_teacher(*arguments, **named)
        assert found.model
        found.model.register_forward_pre_hook(lambda _module, inputs: asked.append(tuple(inputs[0].shape)))
        return found

    load_teacher = teachers.load
    monkeypatch.setattr(teachers, "load", load)
    train(base, tmp_path / "one")
    images = 8 * 20
    assert sum(shape[0] for shape in asked) == 2 * images
    asked.clear()
    train(with_overrides(base, ["training.epochs=1"]), tmp_path / "again")
    assert not asked
    train(with_overrides(base, ["training.epochs=1", "seed=1"]), tmp_path / "other-views")
    assert sum(shape[0] for shape in asked) == 2 * images


def test_answers_to_kept_views_are_those_of_a_teacher_that_is_asked_in_every_step(tmp_path: Path) -> None:
    train(tiny_scratch("training.epochs=1", "image.size_px=48"), tmp_path / "teacher")
    views = ["training.augment.crop_padding_px=3", "training.augment.kept_views=2"]
    config = tiny_kd("allow_weak_teacher=true", *views).model_copy(
        update={"teacher": CheckpointTeacher(path=str(tmp_path / "teacher"))}
    )
    data, fabric = load_data(config), Fabric(accelerator="cpu", devices=1)
    teacher = teachers.load(config.teacher, channels=1, class_names=data.train.class_names)  # type: ignore[arg-type]
    split = teachers.training_views(config, data, teacher)
    assert split.images.shape[1] == 48
    kept = teachers.TeacherAnswers(config, data, teacher, fabric)
    always = teachers.TeacherAnswers(
        with_overrides(config, ["training.augment.kept_views=null"]), data, teacher, fabric
    )
    batches = Batches(split, batch_size=40, device=fabric.device, augment=config.training.augment, seed=config.seed)
    for epoch in range(3):
        for batch in batches.epoch(epoch):
            told, asked = kept(batch), always(batch)
            assert told
            assert asked
            torch.testing.assert_close(told.logits, asked.logits, atol=1e-4, rtol=1e-4)


def stop_after_second_epoch(save: Callable[[RunFolder, State], None]) -> Callable[[RunFolder, State], None]:
    def save_and_stop(folder: RunFolder, state: State) -> None:
        save(folder, state)
        if state.epoch == 2 and "teacher" not in folder.path.name:
            raise KeyboardInterrupt

    return save_and_stop


def test_a_calibrated_model_divides_its_logits_inside_the_graph(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    folder, found = calibration.calibrate(run)
    plain, calibrated = checkpoint.load(run), checkpoint.load(folder)
    images = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(calibrated.model(images) * found.temperature, plain.model(images), atol=1e-5)
    with pytest.raises(UsageError, match="calibrated already"):
        calibration.calibrate(folder)


def test_a_calibrated_teacher_teaches_other_soft_targets(tmp_path: Path, teacher_in: TeacherIn) -> None:
    teacher_in(tmp_path, tiny_kd())
    train(tiny_kd("training.epochs=1"), tmp_path / "plain")
    train(tiny_kd("training.epochs=1", "teacher.calibrate=true"), tmp_path / "calibrated")
    assert weights(tmp_path / "plain") != weights(tmp_path / "calibrated")


def test_a_teacher_is_asked_once_for_all_students(tmp_path: Path) -> None:
    train(tiny_kd(), tmp_path / "one")
    kept = sorted(cache.cache_folder().glob("teacher-logits-*"))
    train(tiny_kd("seed=1"), tmp_path / "two")
    assert sorted(cache.cache_folder().glob("teacher-logits-*")) == kept
    assert kept


def test_logits_from_a_file_train_the_same_student_as_the_teacher_itself(finished: Path, tmp_path: Path) -> None:
    base = tiny_kd("allow_weak_teacher=true").model_copy(update={"teacher": CheckpointTeacher(path=str(finished))})
    train(base, tmp_path / "asked")
    model = checkpoint.load(finished).model.to(memory_format=torch.channels_last)
    split = base.dataset.load("train", base.preprocess)
    images = torch.from_numpy(np.asarray(split.images)).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    with torch.inference_mode():
        np.save(tmp_path / "logits.npy", model(images).numpy())
    train(base.model_copy(update={"teacher": LogitsTeacher(path=str(tmp_path / "logits.npy"))}), tmp_path / "told")
    asked, told = (checkpoint.load(tmp_path / name / "last").model.state_dict() for name in ("asked", "told"))
    for key in asked:
        assert torch.allclose(asked[key].float(), told[key].float(), atol=1e-4)


def validation_losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def arguments(out: Path, *more: str) -> list[str]:
    """Of `python -m distill` for a tiny run of five epochs."""
    overrides = [item for setting in [*TINY, "training.epochs=5", *more] for item in ("--set", setting)]
    return ["run", "demo-scratch", *overrides, "--out", str(out)]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `python -m distill WORDS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["distill", *words])
    with pytest.raises(SystemExit) as ended:
        terminal.run(app)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_run_killed_with_sigkill_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, *arguments(tmp_path / "whole")) == 0

    process = subprocess.Popen(
        [sys.executable, "-m", "distill", *arguments(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) >= 2):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "killed" / "resume.pt").is_file()

    assert call(monkeypatch, *arguments(tmp_path / "killed")) == 2
    assert call(monkeypatch, *arguments(tmp_path / "killed"), "--resume") == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert weights(tmp_path / "killed", "best") == weights(tmp_path / "whole", "best")
    assert validation_losses(tmp_path / "killed") == validation_losses(tmp_path / "whole")


def test_a_full_disk_stops_the_run_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_scratch("training.epochs=1"), tmp_path / "earlier")
    before = {path: path.read_bytes() for path in (tmp_path / "earlier").rglob("*") if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # the system refuses to write longer files
    try:
        code = call(monkeypatch, *arguments(tmp_path / "full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert "cannot write" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tmp"))
    assert {path: path.read_bytes() for path in (tmp_path / "earlier").rglob("*") if path.is_file()} == before


def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_step(tmp_path: Path) -> None:
    config = tiny_scratch("training.optimizer.lr=1e30", "training.schedule.warmup_epochs=0")
    with pytest.raises(WorkFailed, match=r"no longer finite since step \d of epoch 1 \(method scratch: label = "):
        train(config, tmp_path / "run")


def test_early_stopping_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    config = tiny_scratch("training.optimizer.lr=1e-12", "training.epochs=9", "training.early_stopping_patience=2")
    card = train(config, tmp_path / "run")
    assert card.training is not None
    assert card.training.last.epoch == card.training.best.epoch + 2


def test_a_run_starts_without_waiting_for_metrics_of_other_tasks() -> None:
    code = "import sys, distill.train; print({'matplotlib', 'scipy.signal', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_demanded_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device=cuda was demanded"):
        train(tiny_scratch("device=cuda"), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["method.kind=hinton_kd"], "method hinton_kd needs a teacher"),
        (["model=mobilenet"], "unknown model 'mobilenet'"),
        (["teacher.kind=checkpoint", "teacher.path=nowhere"], "method scratch has no use for a teacher"),
        (["quantization_aware.from_run=x", "training.weight_averaging={}"], "an average of them was never rounded"),
        (["quantization_aware.from_run=x", "training.judged_by=macro_f1"], "judged by the accuracy of the rounded"),
        (["training.batch_size=15", "training.augment.mixup=0.2"], "mixes images in pairs"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny_scratch(*changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_logits_cannot_teach_augmented_images(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.zeros((160, 10)))
    config = tiny_kd("training.augment.horizontal_flip=true")
    with pytest.raises(UsageError, match="knows only the plain images"):
        train(config.model_copy(update={"teacher": LogitsTeacher(path=str(tmp_path / "logits.npy"))}), tmp_path / "run")


def test_logits_of_another_data_set_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.zeros((7, 10)))
    config = tiny_kd().model_copy(update={"teacher": LogitsTeacher(path=str(tmp_path / "logits.npy"))})
    with pytest.raises(UsageError, match=r"are \(7, 10\), expected \(160, 10\)"):
        train(config, tmp_path / "run")


def test_the_command_line_speaks_in_paragraphs_and_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", "dmeo") == 2
    assert "unknown recipe 'dmeo'" in capsys.readouterr().err
    assert call(monkeypatch, "run", "demo", "--sett", "a=1") == 2
    assert "No such option: --sett" in capsys.readouterr().err
    assert call(monkeypatch, "run", "demo", "--log", "paper") == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "'--log': 'paper' is not one of 'tensorboard'. See --help." in shown
    assert call(monkeypatch, "run", "demo", "--seed", "x1") == 2
    assert "(found 'x1'). See --help." in " ".join(capsys.readouterr().err.replace("│", " ").split())

    assert call(monkeypatch, *arguments(tmp_path / "run", "training.epochs=1")) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == str(tmp_path / "run")
    assert "python -m export" in shown.err
    assert call(monkeypatch, "evaluate", str(tmp_path / "run"), "--json") == 0
    card = checkpoint.load(tmp_path / "run").card
    assert card.training is not None
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(card.training.best.accuracy)
    assert call(monkeypatch, "evaluate", str(tmp_path / "run"), "--calibrate", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found.keys() == {"folder", "temperature", "before", "after"}
    assert checkpoint.load(Path(found["folder"])).card.temperature == found["temperature"]
    assert found["before"]["accuracy"] == found["after"]["accuracy"]
    assert call(monkeypatch, "list") == 0
    assert "deep_mutual_learning" in capsys.readouterr().err


def test_a_run_ends_with_the_figures_of_its_third_split_and_of_every_class(
    picture_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = picture_folder(classes=("dark", "[red]bright"), per_class=20)
    settings = [f"dataset.path={root}", "dataset.test_share=0.25", "image.size_px=32", "training.epochs=2"]
    settings += ["model=torchvision:shufflenet_v2_x0_5", "training.batch_size=10", "device=cpu"]
    words = [word for setting in settings for word in ("--set", setting)]
    run = tmp_path / "run"
    assert call(monkeypatch, "run", "folder-scratch", *words, "--out", str(run)) == 0
    shown = " ".join(capsys.readouterr().err.split())
    training = checkpoint.read_card(run / "best").training
    assert training is not None
    assert training.validation is not None
    assert training.test is not None
    assert training.validation.metrics == training.best
    assert (training.data.train_images, training.data.num_test) == ((15, 15), 10)
    assert (training.validation.images, training.test.images) == ((20, 20), (5, 5))
    split = training.data.load("test", checkpoint.read_card(run / "best").preprocess)
    batches = Batches(split, batch_size=8, device=torch.device("cpu"))
    assert evaluate.evaluate(checkpoint.load(run).model, batches, epoch=1).accuracy == training.test.metrics.accuracy
    assert "on its validation images and, once, on its test images" in shown
    assert f"test, epoch {training.best.epoch}" in shown
    assert "class by class, best epoch, validation images" in shown
    assert "[red]bright" in shown
    assert checkpoint.read_card(run / "last").training.test is None
