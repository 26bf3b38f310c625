"""Statistics against closed forms and SciPy's own; the runner against real processes that are killed."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console
from scipy import stats

from distill import checkpoint, terminal
from distill.checkpoint import AnyMetrics, Card, DataIdentity, DepthMetrics, Metrics, Training
from distill.config import CheckpointTeacher, RunConfig, with_overrides
from distill.engines import Options
from distill.engines.cell_process import LOG_FILE, STARTED
from distill.errors import UsageError
from distill.recipes import from_scratch
from distill.studies import STUDIES, short_demo, short_depth, study_recipe
from distill.study.comparison import Difference, compare, estimate, holm, leads, paired_p_value
from distill.study.run import STUDY_FILE, Cell, Result, Study, StudyFile, run_study
from distill.study.table import OPTIONAL, comma_separated, head, markdown, narrow_head, narrow_tables
from distill.study.times import Times
from distill.vision.datasets import EchoPhantom
from distill.vision.preprocess import Preprocess

TINY = [
    "model=torchvision:shufflenet_v2_x0_5",
    "image.size_px=32",
    "dataset.train_patients=4",
    "dataset.validation_patients=2",
    "training.epochs=1",
    "training.batch_size=40",
    "device=cpu",
]

PLAIN = from_scratch(short_demo(), "demo-scratch")


def tiny(*more: str) -> RunConfig:
    return with_overrides(PLAIN, [*TINY, *more])


def metrics(accuracy: float, macro_f1: float | None = None) -> Metrics:
    macro_f1 = accuracy if macro_f1 is None else macro_f1
    return Metrics(epoch=1, accuracy=accuracy, macro_f1=macro_f1, ece=0.1, entropy_nats=0.2, loss=0.3)


def of_run(of: Result, config: RunConfig, best: AnyMetrics, teacher: AnyMetrics | None = None) -> Result:
    """A result of another run with other metrics, in both epochs."""
    assert of.card is not None
    assert of.card.training is not None
    training = of.card.training.model_copy(update={"best": best, "last": best})
    cell = replace(of.cell, config=config.model_copy(update={"seed": of.cell.config.seed}))
    return replace(of, cell=cell, card=of.card.model_copy(update={"training": training}), teacher=teacher)


def result(
    technique: str,
    seed: int,
    accuracy: float | None,
    model: str = "resnet18",
    baseline: str | None = None,
    *,
    group: str | None = None,
    question: str | None = None,
) -> Result:
    cell = Cell(technique, with_overrides(PLAIN, [f"model={model}", f"seed={seed}"]), baseline, group, question)
    if accuracy is None:
        return Result(cell, None, "exit code 1")
    found = metrics(accuracy)
    identity = DataIdentity(config=EchoPhantom(), train_sha256="", validation_sha256="", num_train=1, num_validation=1)
    training = Training(
        method="scratch",
        config={},
        teacher_sha256=None,
        data=identity,
        seed=seed,
        epoch=1,
        best=found,
        last=found,
        finished=True,
    )
    card = Card(
        task="classification",
        model=model,
        class_names=("a",),
        preprocess=Preprocess(size_px=8, channels=1, mean=(0.5,), std=(0.5,)),
        temperature=1.0,
        num_parameters=7,
        weights_sha256="",
        training=training,
        versions={},
    )
    return Result(cell, card, None)


def test_a_study_under_torchrun_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    grid = study_recipe("demo-study")
    study = grid.grid("demo-study", grid.base(), grid.students, 1)
    with pytest.raises(UsageError, match=r"torchrun started 4 processes.* --jobs N"):
        run_study(study, tmp_path / "study")
    assert not list(tmp_path.iterdir())


def test_an_estimate_is_the_t_interval_of_the_mean() -> None:
    values = [0.9, 0.92, 0.95, 0.91]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = estimate(values)
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert estimate([0.5]).half_width is None


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_paired_test_is_scipys() -> None:
    left, right = [0.91, 0.93, 0.90, 0.95], [0.90, 0.90, 0.89, 0.91]
    expected = stats.ttest_rel(left, right).pvalue
    assert paired_p_value([a - b for a, b in zip(left, right, strict=True)]) == pytest.approx(expected)
    assert paired_p_value([0.1]) is None
    assert paired_p_value([0.0, 0.0]) == 1.0


def test_a_clear_gain_is_called_better_and_a_doubtful_one_is_not() -> None:
    scratch = [result("scratch", seed, 0.80 + 0.002 * seed) for seed in range(5)]
    clear = [result("clear", seed, 0.85 + 0.002 * seed + 0.001 * (seed % 2)) for seed in range(5)]
    doubtful = [result("doubtful", seed, 0.80 + 0.02 * (-1) ** seed) for seed in range(5)]
    lines = {line.technique: line for line in compare([*scratch, *clear, *doubtful], baseline="scratch")}
    assert lines["scratch"].against_baseline is None
    assert lines["clear"].against_baseline is not None
    assert lines["clear"].against_baseline.verdict == "better"
    assert lines["doubtful"].against_baseline is not None
    assert lines["doubtful"].against_baseline.verdict == "no difference shown"


def test_a_cell_may_name_a_baseline_of_its_own() -> None:
    results = [
        *(result("scratch at 64 px", seed, 0.90 + 0.001 * seed, baseline="scratch at 64 px") for seed in range(3)),
        *(result("scratch at 28 px", seed, 0.70 + 0.001 * seed, baseline="scratch at 28 px") for seed in range(3)),
        *(result("kd at 28 px", seed, 0.80 + 0.0011 * seed, baseline="scratch at 28 px") for seed in range(3)),
    ]
    lines = compare(results, baseline="scratch at 64 px")
    assert [line.against_baseline is None for line in lines] == [True, True, False]
    found = lines[2].against_baseline
    assert found is not None
    assert (found.baseline, found.verdict) == ("scratch at 28 px", "better")
    assert found.mean == pytest.approx(0.1, abs=0.001)
    assert "difference in accuracy from scratch at 28 px" in markdown("sizes", lines, results)


def test_tests_that_answer_one_question_are_corrected_together() -> None:
    """Two systems, each against itself at other hints: as one question the p values double, alone they stay."""

    def lines(question: str | None) -> dict[str, Difference]:
        results = [
            result(name, seed, base + 0.01 * seed + gain + 0.001 * (seed % 2), baseline=against, question=question)
            for base, system in ((0.5, "AT"), (0.6, "FitNet"))
            for name, gain, against in ((system, 0.0, None), (f"{system}, searched", 0.02, system))
            for seed in range(3)
        ]
        found = compare(results, baseline="AT")
        return {line.technique: line.against_baseline for line in found if line.against_baseline}

    together, apart = lines("hints"), lines(None)
    for technique in ("AT, searched", "FitNet, searched"):
        one, two = apart[technique], together[technique]
        assert one.p_value is not None
        assert two.p_value == pytest.approx(min(1.0, 2 * one.p_value))
        assert two.baseline == technique.removesuffix(", searched")
        assert two.mean == pytest.approx(0.02)


def test_a_difference_has_the_t_interval_of_its_pairs_for_both_epochs() -> None:
    gains = (0.01, 0.03, 0.05)
    results = [result("scratch", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    results += [result("kd", seed, 0.5 + 0.1 * seed + gains[seed]) for seed in range(3)]
    *_, line = compare(results, baseline="scratch")
    assert line.against_baseline == line.last_against_baseline
    assert line.against_baseline is not None
    assert line.against_baseline.half_width == pytest.approx(estimate(gains).half_width)
    (_, row) = csv.DictReader(io.StringIO(comma_separated(compare(results, baseline="scratch"))))
    assert float(row["last_difference_half_width_95"]) == pytest.approx(estimate(gains).half_width)
    assert (row["family"], row["baseline"]) == ("labels", "scratch")


def test_what_cannot_be_told_apart_from_the_best_is_said() -> None:
    results = [
        *(result("low", seed, 0.50 + 0.001 * seed) for seed in range(4)),
        *(result("high", seed, 0.70 + 0.0011 * seed) for seed in range(4)),
        *(result("as high", seed, 0.70 + 0.02 * (-1) ** seed) for seed in range(4)),
        *(result("lucky", seed, 0.90) for seed in range(1)),
    ]
    (lead,) = leads(results)
    assert (lead.technique, lead.alike, lead.behind) == ("high", ("as high", "lucky"), ("low",))
    text = markdown("s", compare(results, baseline="low"), results)
    assert "- resnet18: high has the highest mean, 70.17 ± " in text
    assert "Not told apart from it: as high, lucky. Worse: low." in text
    assert leads(results[:4]) == []


def test_groups_are_compared_apart_and_a_run_that_two_share_is_run_once(tmp_path: Path) -> None:
    groups = ("before", "after")
    results = [
        result(name, seed, accuracy + 0.01 * seed, group=group)
        for group, accuracies in zip(groups, ((0.5, 0.6), (0.5, 0.8)), strict=True)
        for name, accuracy in zip(("scratch", "kd"), accuracies, strict=True)
        for seed in range(2)
    ]
    lines = compare(results, baseline="scratch")
    assert [(line.student, line.technique) for line in lines] == [
        (group, name) for group in groups for name in ("scratch", "kd")
    ]
    found = [line.against_baseline.mean for line in lines if line.against_baseline]
    assert found == pytest.approx([0.1, 0.3])
    shared = tuple(Cell("scratch", tiny(), group=group) for group in groups)
    file = Study("s", "scratch", shared).file(tmp_path)
    assert len({cell.folder for cell in file.cells}) == 1
    assert [cell.group for cell in file.cells] == list(groups)


def test_only_common_seeds_are_paired_and_failures_are_counted() -> None:
    results = [
        *(result("scratch", seed, 0.8) for seed in range(3)),
        *(result("kd", seed, None if seed == 1 else 0.9) for seed in range(3)),
    ]
    (_, line) = compare(results, baseline="scratch")
    assert line.failed == 1
    assert line.against_baseline is not None
    assert line.against_baseline.pairs == 2
    text = markdown("my study", [line], results)
    assert "2 (+1 failed)" in text
    assert "- resnet18, kd, seed 1: exit code 1" in text
    (row,) = csv.DictReader(io.StringIO(comma_separated([line])))
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)
    assert row["pairs"] == "2"


def test_times_are_pooled_over_epochs_and_runs_and_accuracy_is_a_share_of_the_teachers() -> None:
    kept = Times(epochs_s=(9.0, 4.0), batches_ms=(30.0, 10.0, 20.0), conditions="2 at a time on a Z80")
    older = Times(epochs_s=(5.0, 3.0), conditions=None)
    results = [
        replace(result("kd", 0, 0.8), times=kept, teacher=metrics(0.9)),
        replace(result("kd", 1, 0.85), times=older, teacher=metrics(0.9)),
    ]
    (line,) = compare(results, baseline="scratch")
    assert (line.median_batch_ms, line.min_epoch_s) == (20.0, 3.0)
    assert line.relative == estimate([0.8 / 0.9, 0.85 / 0.9])
    text = markdown("my study", [line], results)
    assert "run 2 at a time on a Z80; under unknown conditions" in text
    assert "teacher's accuracy is 90.00 %" in text
    (row,) = csv.DictReader(io.StringIO(comma_separated([line])))
    assert (row["median_batch_ms"], row["min_epoch_s"]) == ("20.0", "3.0")
    assert float(row["relative_accuracy_mean"]) == pytest.approx(0.825 / 0.9)


def test_what_is_not_known_is_a_dash_and_an_empty_field() -> None:
    results = [result("scratch", 0, 0.8)]
    (line,) = compare(results, baseline="scratch")
    *_, last = markdown("s", [line], results).splitlines()
    shown = dict(zip(head([line]), last.strip("| ").split(" | "), strict=True))
    assert {shown[name] for name in ("of teacher", "batch ms", "epoch s", "against", "difference")} == {"–"}
    (row,) = csv.DictReader(io.StringIO(comma_separated([line])))
    assert {row[name] for name in ("relative_accuracy_mean", "median_batch_ms", "min_epoch_s")} == {""}


def test_where_macro_f1_judges_it_is_what_techniques_are_compared_by() -> None:
    """Plain training is right more often and blind to the rare classes: it is behind, whatever its accuracy."""
    config = with_overrides(PLAIN, ["training.judged_by=macro_f1"])
    results = [
        of_run(result(name, seed, 0.5), config, metrics(accuracy, of + 0.001 * seed), metrics(1.0, 0.8))
        for name, accuracy, of in (("scratch", 0.9, 0.4), ("class weights", 0.8, 0.6))
        for seed in range(3)
    ]
    lines = compare(results, baseline="scratch")
    assert [line.measure.name for line in lines] == ["macro_f1"] * 2
    assert lines[1].against_baseline is not None
    assert (lines[1].against_baseline.verdict, lines[1].against_baseline.mean) == ("better", pytest.approx(0.2))
    assert lines[1].relative is not None
    assert lines[1].relative.mean == pytest.approx(0.601 / 0.8)
    assert [lead.technique for lead in leads(results)] == ["class weights"]
    text = markdown("rare", lines, results)
    assert "difference in macro F1 from scratch" in text
    assert "teacher's macro F1 is 80.00 %" in text
    assert head(lines)[4:8] == ("macro F1 %", "of teacher", "last epoch %", "accuracy %")
    row = list(csv.DictReader(io.StringIO(comma_separated(lines))))[1]
    assert (float(row["macro_f1_mean"]), float(row["accuracy_mean"])) == (pytest.approx(0.601), pytest.approx(0.8))


def test_depth_is_compared_by_its_share_and_shows_its_error_in_metres() -> None:
    config = short_depth()
    results = [
        of_run(result(name, 0, 0.5), config, DepthMetrics(epoch=1, rmse_m=rmse_m, rel=0.2, delta1=delta1, loss=0.3))
        for name, rmse_m, delta1 in (("scratch", 0.75, 0.6), ("kd", 0.5, 0.7))
    ]
    lines = compare(results, baseline="scratch")
    assert [round(line.best.mean, 3) for line in lines] == [0.6, 0.7]
    assert head(lines)[4:9] == ("δ < 1.25 %", "of teacher", "last epoch %", "RMSE m", "REL")
    assert narrow_head(lines)[2:5] == ("δ < 1.25 %", "of teacher", "RMSE m")
    text = markdown("rooms", lines, results)
    assert "| 70.00 | – | 70.00 | 0.500 | 0.200 |" in text
    assert "ccuracy" not in text


def test_the_terminal_has_a_table_per_student_that_fits_in_120_columns() -> None:
    results = [
        replace(
            result(technique, seed, accuracy + 0.01 * seed, model),
            times=Times(epochs_s=(123.45,), batches_ms=(1234.5,)),
            teacher=metrics(0.9),
        )
        for model in ("mobilenet_v3_small", "ghostnet_100")
        for technique, accuracy in (("scratch", 0.8), ("CTKD linear α=0.5", 0.81))
        for seed in range(3)
    ]
    lines = compare(results, baseline="scratch")
    tables = narrow_tables(lines)
    assert [student for student, _ in tables] == ["mobilenet_v3_small", "ghostnet_100"]
    for _, rows in tables:
        columns = zip(narrow_head(lines), *rows, strict=True)
        assert sum(3 + max(len(cell) for cell in column) for column in columns) + 1 <= 120


@pytest.mark.parametrize(("width", "left_out"), [(200, ()), (80, ("batch ms", "epoch s", "ECE"))])
def test_a_narrow_terminal_keeps_the_techniques_and_does_without_some_figures(
    width: int, left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [
        replace(result(name, seed, 0.8 + 0.01 * seed), times=Times((123.45,), (1234.5,)), teacher=metrics(0.9))
        for name in ("scratch", "CTKD linear α=0.5")
        for seed in range(3)
    ]
    lines = compare(results, baseline="scratch")
    said = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=said, width=width))
    ((student, rows),) = narrow_tables(lines)
    terminal.console.print(terminal.table(student, narrow_head(lines), rows, optional=OPTIONAL))
    shown = said.getvalue()
    assert "CTKD linear α=0.5" in shown
    assert "…" not in shown
    assert (f"no room here for: {', '.join(left_out)}" in shown) == bool(left_out)


def test_a_study_says_on_disk_what_it_holds(tmp_path: Path) -> None:
    kd = with_overrides(short_demo(), TINY)
    brought = kd.model_copy(update={"teacher": CheckpointTeacher(path="/models/teacher")})
    cells = (Cell("scratch", tiny()), Cell("kd", kd))
    file = Study("s", "scratch", cells).file(tmp_path)
    file.write(tmp_path / STUDY_FILE)
    found = StudyFile.read(tmp_path)
    assert found == file
    assert [tmp_path / cell.folder for cell in found.cells] == [cell.folder(tmp_path) for cell in cells]
    assert found.cells[0].teacher is None
    assert found.teacher == found.cells[1].teacher == f"cells/{kd.teacher_run().name}"
    two = Study("s", "scratch", (*cells, Cell("kd", brought))).file(tmp_path)
    assert tmp_path / str(two.cells[2].teacher) == Path("/models/teacher")
    assert two.teacher is None


def test_the_studys_record_on_disk_has_not_changed() -> None:
    golden = Path(__file__).parent / "golden" / STUDY_FILE
    assert StudyFile.read(golden).to_json() + "\n" == golden.read_text()
    older = StudyFile.read(golden.with_name("study-1.json"))
    assert {(cell.group, cell.baseline) for cell in older.cells} == {(None, None)}
    assert older.to_json() != golden.read_text()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_distinct_cells_with_a_baseline_for_every_student(name: str) -> None:
    recipe = study_recipe(name)
    grid = recipe.grid(name, recipe.base(), recipe.students, 2)
    assert {cell.config.model for cell in grid.cells} == {*recipe.students}
    for student in {cell.student for cell in grid.cells}:
        of_student = [cell for cell in grid.cells if cell.student == student]
        assert len({cell.config.identity() for cell in of_student}) == len(of_student)
        techniques = {cell.technique for cell in of_student}
        assert {grid.baseline, *(cell.baseline or grid.baseline for cell in of_student)} <= techniques


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean echo-study"):
        study_recipe("echo-stduy")


def test_a_study_starts_without_waiting_for_what_only_its_runs_need() -> None:
    code = (
        "import sys, distill.study.run, distill.studies; print({'torchvision', 'lightning_fabric'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.slow
def test_one_failed_cell_does_not_stop_the_rest(tmp_path: Path) -> None:
    good, bad = tiny(), tiny("training.optimizer.lr=1e30", "training.schedule.warmup_epochs=0")
    study = Study("s", "a", (Cell("bad", bad), Cell("good", good)))
    failed, made = run_study(study, tmp_path, options=Options(jobs=2))
    assert failed.card is None
    assert failed.failure is not None
    assert "exit code 1" in failed.failure
    assert "no longer finite" in Path(failed.failure.split("see ")[1]).read_text()
    assert made.card is not None
    assert checkpoint.load(made.cell.folder(tmp_path)).card == made.card
    assert made.times.conditions is not None
    assert made.times.conditions.startswith("2 at a time")
    assert len(made.times.epochs_s) == len(made.times.batches_ms) == 1


@pytest.mark.slow
def test_cells_whose_teacher_failed_are_not_begun(tmp_path: Path) -> None:
    lost = with_overrides(short_demo(), [*TINY, "teacher.model=torchvision:shufflenet_v2_x0_5"])
    lost = with_overrides(lost, ["teacher.training.optimizer.lr=1e30", "teacher.training.schedule.warmup_epochs=0"])
    (found,) = run_study(Study("s", "kd", (Cell("kd", lost),)), tmp_path)
    assert found.failure is not None
    assert found.failure.startswith("its teacher failed: exit code 1")
    assert not found.cell.folder(tmp_path).exists()


@pytest.mark.slow
def test_a_study_killed_twice_finishes_without_repeating_a_finished_cell(tmp_path: Path) -> None:
    """Three cells with a teacher, two at a time; killed in the middle of another after the first and the second."""
    base = with_overrides(
        short_demo(), [*TINY, "teacher.model=torchvision:shufflenet_v2_x0_5", "teacher.training.epochs=1"]
    )
    cells = tuple(Cell("kd", base.model_copy(update={"seed": seed})) for seed in range(3))
    code = f"""
from pathlib import Path
from distill.config import parse
from distill.engines import Options
from distill.study.run import Cell, Study, run_study
cells = tuple(Cell("kd", parse(text, source="test")) for text in {[cell.config.model_dump_json() for cell in cells]!r})
run_study(Study("s", "kd", cells), Path({str(tmp_path)!r}), options=Options(jobs=2))
"""
    before: dict[Path, tuple[int, ...]] = {}
    interrupted: list[Path] = []
    for kill_at in ("1/3", "2/3", None):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if kill_at and "finished before" in line:
                interrupted.append(hold_a_running_cell(process, tmp_path, cells))
            if kill_at and line.startswith(kill_at):
                os.killpg(process.pid, signal.SIGKILL)
        process.stderr.close()
        assert process.wait() == (-signal.SIGKILL if kill_at else 0)
        now = traces_of_finished(tmp_path, cells)
        assert len(now) >= (int(kill_at.split("/")[0]) if kill_at else 3)
        assert {folder: now[folder] for folder in before} == before
        before = now
    assert len(interrupted) == 2
    assert all(starts_in(folder) > 1 for folder in interrupted)
    assert sum(starts_in(cell.folder(tmp_path)) for cell in cells) <= 3 + 2 * 2
    assert StudyFile.read(tmp_path).teacher is not None
    (teacher,) = tmp_path.glob("cells/teacher-*")
    assert starts_in(teacher) == 1


def hold_a_running_cell(study: "subprocess.Popen[str]", path: Path, cells: tuple[Cell, ...]) -> Path:
    """Folder of a cell that is not finished and whose process is held by SIGSTOP, so that it cannot finish."""
    folders = {cell.folder(path) for cell in cells}
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        for run in psutil.Process(study.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                words = run.cmdline()
                for folder in folders:
                    if "distill" in words and str(folder) in words:
                        run.suspend()
                        if folder not in traces_of_finished(path, cells):
                            return folder
                        run.resume()
        time.sleep(0.02)
    pytest.fail("no cell was running")


def traces_of_finished(study: Path, cells: tuple[Cell, ...]) -> dict[Path, tuple[int, ...]]:
    """When the files of every finished cell were written, and how often its process was started."""
    found: dict[Path, tuple[int, ...]] = {}
    for cell in cells:
        folder = cell.folder(study)
        card = folder / "best" / "card.json"
        if card.is_file() and '"finished": true' in card.read_text():
            files = (card, folder / "metrics.jsonl", folder / "last" / "weights.safetensors", folder / LOG_FILE)
            found[folder] = (*(file.stat().st_mtime_ns for file in files), starts_in(folder))
    return found


def starts_in(folder: Path) -> int:
    return (folder / LOG_FILE).read_text().count(STARTED)
