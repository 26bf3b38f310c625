"""Statistics against closed forms and SciPy's own; the runner against real processes that are killed."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from distill import checkpoint
from distill.checkpoint import Card, DataIdentity, Metrics, Training
from distill.comparison import compare, estimate, holm, paired_p_value
from distill.config import RunConfig, with_overrides
from distill.errors import UsageError
from distill.recipes import demo, demo_scratch
from distill.studies import STUDIES, study_recipe
from distill.study import Cell, Result, Study, run_study
from distill.study_table import comma_separated, markdown
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


def tiny(*more: str) -> RunConfig:
    return with_overrides(demo_scratch(), [*TINY, *more])


def result(technique: str, seed: int, accuracy: float | None, model: str = "resnet18") -> Result:
    cell = Cell(technique, with_overrides(demo_scratch(), [f"model={model}", f"seed={seed}"]))
    if accuracy is None:
        return Result(cell, None, "exit code 1")
    metrics = Metrics(epoch=1, accuracy=accuracy, macro_f1=accuracy, ece=0.1, entropy_nats=0.2, loss=0.3)
    identity = DataIdentity(config=EchoPhantom(), train_sha256="", validation_sha256="", num_train=1, num_validation=1)
    training = Training(
        method="scratch",
        config={},
        teacher_sha256=None,
        data=identity,
        seed=seed,
        epoch=1,
        best=metrics,
        last=metrics,
        finished=True,
    )
    card = Card(
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


def test_only_common_seeds_are_paired_and_failures_are_counted() -> None:
    results = [
        *(result("scratch", seed, 0.8) for seed in range(3)),
        *(result("kd", seed, None if seed == 1 else 0.9) for seed in range(3)),
    ]
    (_, line) = compare(results, baseline="scratch")
    assert line.failed == 1
    assert line.against_baseline is not None
    assert line.against_baseline.pairs == 2
    text = markdown("my study", "scratch", [line], results)
    assert "2 (+1 failed)" in text
    assert "- resnet18, kd, seed 1: exit code 1" in text
    (row,) = csv.DictReader(io.StringIO(comma_separated([line])))
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)
    assert row["pairs"] == "2"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_distinct_cells_with_a_baseline_for_every_student(name: str) -> None:
    recipe = study_recipe(name)
    grid = recipe.grid(name, recipe.base(), recipe.students, 2)
    assert len({cell.config.identity() for cell in grid.cells}) == len(grid.cells)
    for student in recipe.students:
        assert any(cell.config.model == student and cell.technique == grid.baseline for cell in grid.cells)


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean echo-study"):
        study_recipe("echo-stduy")


def test_one_failed_cell_does_not_stop_the_rest(tmp_path: Path) -> None:
    good, bad = tiny(), tiny("training.optimizer.lr=1e30", "training.schedule.warmup_epochs=0")
    found = run_study(Study("s", "a", (Cell("bad", bad), Cell("good", good))), tmp_path, jobs=2)
    assert found[0].card is None
    assert found[0].failure is not None
    assert "exit code 1" in found[0].failure
    assert found[1].card is not None
    log = found[0].failure.split("see ")[1]
    assert "no longer finite" in Path(log).read_text()


@pytest.mark.slow
def test_a_study_killed_twice_finishes_without_repeating_a_finished_cell(tmp_path: Path) -> None:
    """Four cells with a teacher; the whole process group is killed after the first and after the second cell."""
    out = tmp_path / "study"
    settings = [*TINY, "teacher.model=torchvision:shufflenet_v2_x0_5", "teacher.training.epochs=1"]
    base = with_overrides(demo(), settings)
    cells = tuple(Cell("kd", base.model_copy(update={"seed": seed})) for seed in range(4))
    code = f"""
from pathlib import Path
from distill.config import parse
from distill.study import Cell, Study, run_study
cells = tuple(Cell("kd", parse(text, source="test")) for text in {[cell.config.model_dump_json() for cell in cells]!r})
run_study(Study("s", "kd", cells), Path({str(out)!r}), jobs=1)
"""
    finished: dict[Path, int] = {}
    for kill_after in (1, 2, None):
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        while kill_after is not None and len(finished_cards(out)) < kill_after:
            assert process.poll() is None
            time.sleep(0.02)
        if kill_after is not None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = finished_cards(out)
        assert {path: now[path] for path in finished} == finished
        finished = now
    assert len(finished) == 4
    assert len(list((out / "cells").glob("teacher-*"))) == 1


def finished_cards(study: Path) -> dict[Path, int]:
    """Finished students' cards with the time they were written."""
    cards = [path for path in study.glob("cells/*/best/card.json") if "teacher" not in path.parts[-3]]
    return {path: path.stat().st_mtime_ns for path in cards if json.loads(path.read_text())["training"]["finished"]}


def test_cells_are_ordinary_runs(tmp_path: Path) -> None:
    (found,) = run_study(Study("s", "a", (Cell("a", tiny()),)), tmp_path, jobs=1)
    assert checkpoint.load(found.cell.folder(tmp_path)).card == found.card
