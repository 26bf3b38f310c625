"""Figures of hand-written studies (real run folders, untrained networks, invented metrics): what the axes hold."""

import csv
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from distill import checkpoint
from distill.checkpoint import Card, Metrics, Training
from distill.config import RunConfig, with_overrides
from distill.data import Data, load_data
from distill.errors import UsageError, WorkFailed
from distill.evaluation import evaluate
from distill.evaluation.calibration import calibrate, halves
from distill.figures.boards import write_boards
from distill.figures.draw import draw_all, draw_study
from distill.figures.gallery import INDEX, Drawing, LeftOut
from distill.figures.hints import draw_hints
from distill.figures.journal import read_times
from distill.figures.lengths import draw_lengths, epochs_needed
from distill.figures.predictions import kept_logits, logits_file, predictions
from distill.figures.runs import StudyRuns, best_technique, read_study
from distill.figures.style import house_style
from distill.recipes import demo_scratch
from distill.run_folder import CONFIG_FILE, METRICS_FILE
from distill.studies import short_demo
from distill.study.comparison import estimate
from distill.study.run import STUDY_FILE, Cell, Study
from distill.training.batches import Batches
from distill.vision.models import build

NETWORK = "torchvision:shufflenet_v2_x0_5"
TINY = [
    "image.size_px=32",
    "dataset.train_patients=4",
    "dataset.validation_patients=2",
    "training.epochs=4",
    "training.batch_size=40",
    "device=cpu",
]
TEACHER_ACCURACY = 0.9
ACCURACIES = {"scratch": (0.70, 0.72, 0.77), "KD T=4": (0.80, 0.82, 0.84), "CTKD cosine": (0.78, 0.79, 0.82)}


def config(technique: str, network: str, seed: int, *more: str) -> RunConfig:
    """A tiny run; the teacher of all distilled ones is the same."""
    own = [*TINY, f"model={network}", f"seed={seed}", *more]
    if technique == "scratch":
        return with_overrides(demo_scratch(), own)
    run = with_overrides(short_demo(), [*own, f"teacher.model={NETWORK}", "teacher.training.epochs=1"])
    return run if technique.startswith("KD") else with_overrides(run, ["method.kind=curriculum_temperature"])


def write_run(folder: Path, run: RunConfig, data: Data, accuracy: float) -> None:
    """A finished run folder as training leaves it: a real checkpoint, a card, metrics that rise to `accuracy`."""
    torch.manual_seed(int(run.identity()[:8], 16))  # no two runs share their weights
    names = data.train.class_names
    model = build(run.model, num_classes=len(names), preprocess=run.preprocess).eval()
    epochs = range(1, run.training.epochs + 1)
    found = [
        Metrics(epoch=n, accuracy=accuracy * n / len(epochs), macro_f1=accuracy, ece=0.1, entropy_nats=0.2, loss=0.3)
        for n in epochs
    ]
    training = Training(
        method=run.method.kind,
        config=run.model_dump(mode="json"),
        teacher_sha256=None,
        data=data.identity(run),
        seed=run.seed,
        epoch=len(epochs),
        best=found[-1],
        last=found[-1],
        finished=True,
    )
    curriculum = run.method.kind == "curriculum_temperature"
    rows = [
        {
            **one.model_dump(),
            **({"temperature": 15.0 - one.epoch - run.seed, "lambda": one.epoch / 4} if curriculum else {}),
        }
        | {"seconds": 3.0 - 0.1 * one.epoch + run.seed + run.image.size_px / 100}
        for one in found
    ]
    checkpoint.save(
        folder / "best", model, name=run.model, class_names=names, preprocess=run.preprocess, training=training
    )
    (folder / CONFIG_FILE).write_text(run.model_dump_json())
    (folder / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_study(
    folder: Path, cells: Sequence[Cell], accuracies: Sequence[float | None], *, baseline: str = "scratch"
) -> None:
    """A study of finished runs; a cell whose accuracy is None has not begun."""
    study = Study("hand-made", baseline, tuple(cells))
    study.file(folder).write(folder / STUDY_FILE)
    data: dict[str, Data] = {}
    for cell, accuracy in zip(cells, accuracies, strict=True):
        of_size = data.setdefault(str(cell.config.preprocess), load_data(cell.config))
        if accuracy is not None:
            write_run(cell.folder(folder), cell.config, of_size, accuracy)
        if cell.config.teacher is not None:
            teacher = cell.config.teacher_run()
            if not (folder / "cells" / teacher.name).exists():
                whole = data.setdefault(str(teacher.preprocess), load_data(teacher))
                write_run(folder / "cells" / teacher.name, teacher, whole, TEACHER_ACCURACY)


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return [Cell(name, config(name, NETWORK, seed)) for name in ACCURACIES for seed in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cells: list[Cell]) -> Path:
    """One student, three techniques, three seeds, all finished."""
    path = tmp_path_factory.mktemp("study")
    write_study(path, cells, [accuracy for of_technique in ACCURACIES.values() for accuracy in of_technique])
    return path


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyRuns:
    return read_study(folder)


@pytest.fixture(scope="module")
def drawn(study: StudyRuns) -> dict[str, Drawing | LeftOut]:
    """Every figure without measurements, by name."""
    with house_style():
        return {result.name: result for result in draw_all(study, ())}


def figure_of(drawn: dict[str, Drawing | LeftOut], name: str) -> Figure:
    found = drawn[name]
    assert isinstance(found, Drawing), found
    return found.figure


def errorbars(figure: Figure, axes: int = 0) -> dict[str, tuple[np.ndarray, list[np.ndarray]]]:
    """By label: the marks as [N, 2], and the interval's end points of every mark."""
    return {
        str(bars.get_label()): (
            np.asarray(bars.lines[0].get_xydata()),
            [np.asarray(segment) for lines in bars.lines[2] for segment in lines.get_segments()],
        )
        for bars in figure.axes[axes].containers
    }


def test_means_intervals_and_the_teachers_line_are_those_of_the_cards(drawn: dict[str, Drawing | LeftOut]) -> None:
    figure = figure_of(drawn, f"accuracy-{NETWORK.replace(':', '-')}")
    bars = errorbars(figure)
    assert list(bars) == list(ACCURACIES)
    for name, accuracies in ACCURACIES.items():
        expected = estimate([100 * value for value in accuracies])
        mean, (interval,) = bars[name]
        assert mean[0, 0] == pytest.approx(expected.mean)
        assert interval[:, 0] == pytest.approx(
            [expected.mean - (expected.half_width or 0), expected.mean + (expected.half_width or 0)]
        )
    points = [line.get_xdata() for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert np.allclose(points, 100 * np.array(list(ACCURACIES.values())))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "teacher"]
    assert np.asarray(line.get_xdata()) == pytest.approx(100 * TEACHER_ACCURACY)


def test_all_students_shows_the_best_technique_beside_the_baseline(drawn: dict[str, Drawing | LeftOut]) -> None:
    labels = [label.get_text().split("\n")[1] for label in figure_of(drawn, "accuracy").axes[0].get_yticklabels()]
    assert labels == ["KD T=4", "scratch"]


def test_training_curves_are_means_per_epoch(drawn: dict[str, Drawing | LeftOut]) -> None:
    lines = {line.get_label(): line for line in figure_of(drawn, "training-curves").axes[0].lines}
    assert set(lines) == {"scratch", "KD T=4", "other techniques"}
    rising = 100 * np.mean(ACCURACIES["scratch"]) * np.arange(1, 5) / 4
    assert np.asarray(lines["scratch"].get_ydata()) == pytest.approx(rising)


def test_curriculum_shows_the_learned_temperature_and_lambda(drawn: dict[str, Drawing | LeftOut]) -> None:
    temperature, curriculum = figure_of(drawn, "curriculum").axes
    assert np.asarray(temperature.lines[0].get_ydata()) == pytest.approx([13.0, 12.0, 11.0, 10.0])
    assert np.asarray(curriculum.lines[0].get_ydata()) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_without_times_accuracy_is_drawn_against_parameters_and_the_way_to_times_is_named(
    drawn: dict[str, Drawing | LeftOut], study: StudyRuns
) -> None:
    left_out = drawn["speed-up"]
    assert isinstance(left_out, LeftOut)
    assert "python -m export" in left_out.reason
    assert "python -m bench" in left_out.reason
    mean, _ = errorbars(figure_of(drawn, "parameters"))[f"{NETWORK}, KD T=4"]
    assert mean[0] == pytest.approx([study.repeats[0].card.num_parameters / 1e6, 100 * 0.82 / TEACHER_ACCURACY])


def time_line(sha256: str, median_ms: float, size_bytes: int, **changes: object) -> str:
    """A line of bench's journal with a schema version of the future and a few unknown keys."""
    subject = {"checkpoint_sha256": sha256, "size_bytes": size_bytes, "format": "eager", "precision": "fp32", "new": 1}
    device = {"kind": "cpu", "name": "a processor", "instrument": None, "serial": None, "emulated": False}
    row = {
        "schema_version": 99,
        "subject": subject,
        "device": device,
        "batch": 1,
        "threads": 1,
        "samples_ms": [0.9 * median_ms, median_ms, 5 * median_ms],
        "validity": "valid",
    }
    return json.dumps({**row, **changes})


def test_speed_up_joins_times_by_checkpoint_under_like_conditions(study: StudyRuns, tmp_path: Path) -> None:
    assert study.teacher is not None
    teacher, student = study.teacher.card.weights_sha256, study.repeats[4].card.weights_sha256
    journal = tmp_path / "measurements.jsonl"
    lines = [
        time_line(teacher, 99.0, 8_000_000),  # measured again below
        time_line(teacher, 20.0, 8_000_000),
        time_line(student, 5.0, 2_000_000),
        time_line(study.repeats[0].card.weights_sha256, 4.0, 2_000_000),
        time_line(student, 1.0, 2_000_000, threads=2),
        time_line(student, 1.0, 2_000_000, validity="noisy"),
        time_line("another network", 1.0, 2_000_000),
        '{"cut off',
    ]
    journal.write_text("\n".join(lines))
    with house_style():
        drawn = {result.name: result for result in draw_all(study, read_times(journal))}
    figure = figure_of(drawn, "speed-up")
    bars = errorbars(figure)
    assert list(bars) == [f"{NETWORK}, scratch", f"{NETWORK}, KD T=4"]
    mean, (across, up) = bars[f"{NETWORK}, KD T=4"]
    assert mean[0] == pytest.approx([4.5, 100 * 0.82 / TEACHER_ACCURACY])
    assert across[:, 0] == pytest.approx([4.0, 5.0])
    half = estimate([100 * value / TEACHER_ACCURACY for value in ACCURACIES["KD T=4"]]).half_width
    assert half is not None
    assert up[1, 1] - up[0, 1] == pytest.approx(2 * half)
    areas = [disc.get_sizes()[0] for disc in figure.axes[0].collections if hasattr(disc, "get_sizes")]
    of_discs = sorted(area for area in areas if area > 0)
    assert of_discs[-1] / of_discs[0] == pytest.approx(8 / 2)
    caption = drawn["speed-up"].caption if isinstance(drawn["speed-up"], Drawing) else ""
    assert "a processor (cpu), eager fp32" in caption
    assert "batch 1, 1 thread" in caption
    assert len(errorbars(figure_of(drawn, "speed-up-distilled"))) == 1


def in_turn(sha256: str, median_ms: float, machine: list[float], **changes: object) -> str:
    """A noisy line of launches of six bursts each, whose times follow the machine's and are `median_ms` on average."""
    launches = [
        {"sample_count": 6, "burst_counts": [1] * 6, "together": f"round {number}"}
        for number in range(len(machine) // 6)
    ]
    samples = [median_ms * speed for speed in machine]
    return time_line(sha256, median_ms, 2_000_000, samples_ms=samples, launches=launches, validity="noisy", **changes)


def test_badly_known_times_are_drawn_by_their_ratio_in_turn_with_their_label_and_wrong_ones_are_not(
    study: StudyRuns, tmp_path: Path
) -> None:
    assert study.teacher is not None
    teacher, student = study.teacher.card.weights_sha256, study.repeats[4].card.weights_sha256
    other = study.repeats[0].card.weights_sha256
    machine = [1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 2.0, 2.0, 4.0, 2.0, 3.0, 2.0]
    slower_later = [speed * (1.0 if place < 6 else 1.1) for place, speed in enumerate(machine)]
    journal = tmp_path / "measurements.jsonl"
    lines = [
        in_turn(teacher, 20.0, machine),
        in_turn(student, 5.0, slower_later),
        time_line(other, 1.0, 2_000_000, validity="throttled"),
        time_line(other, 1.0, 2_000_000, validity="failed", samples_ms=[]),
    ]
    journal.write_text("\n".join(lines))
    with house_style():
        drawn = {result.name: result for result in draw_all(study, read_times(journal))}
    figure = figure_of(drawn, "speed-up")
    mean, (across, _) = errorbars(figure)[f"{NETWORK}, KD T=4"]
    # One launch says 4, the other 4 / 1.1; the machine's own ups and downs are in neither.
    assert mean[0, 0] == pytest.approx((4 + 4 / 1.1) / 2)
    reach = np.exp(stats.t.ppf(0.975, 1) * np.log(1.1) / 2)
    assert across[:, 0] == pytest.approx([mean[0, 0] / reach, mean[0, 0] * reach])
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert any("MB (noisy)" in text.get_text() for text in legend.get_texts())
    caption = drawn["speed-up"].caption if isinstance(drawn["speed-up"], Drawing) else ""
    assert "of 1 measured student checkpoint." in caption


def test_confusions_are_counted_from_the_checkpoints_own_answers(
    drawn: dict[str, Drawing | LeftOut], study: StudyRuns
) -> None:
    found = predictions(study.of(NETWORK, "KD T=4"))
    classes = len(study.repeats[0].card.class_names)
    expected = np.zeros((classes, classes))
    for answers in found.values():
        for label, row in zip(answers.labels.tolist(), answers.logits.tolist(), strict=True):
            expected[label, int(np.argmax(row))] += 1
    picture = figure_of(drawn, f"confusion-{NETWORK.replace(':', '-')}").axes[0].images[0].get_array()
    assert np.asarray(picture) == pytest.approx(100 * expected / expected.sum(axis=1, keepdims=True))


def test_kept_logits_are_the_checkpoints_and_are_not_computed_twice(study: StudyRuns) -> None:
    run = study.repeats[0]
    loaded = checkpoint.load(run.folder)
    split = run.config.dataset.load("validation", run.card.preprocess)
    fresh = evaluate.predict(loaded.model, Batches(split, batch_size=256, device=torch.device("cpu")))
    assert torch.equal(kept_logits(run, split), fresh)
    written = logits_file(run).stat().st_mtime_ns
    kept_logits(run, split)
    assert logits_file(run).stat().st_mtime_ns == written


def test_reliability_has_two_panels_once_every_seed_is_calibrated(folder: Path) -> None:
    name = f"reliability-{NETWORK.replace(':', '-')}"
    study = read_study(folder)
    runs = study.of(NETWORK, "KD T=4")
    for run in runs:
        calibrate(run.folder)
    with house_style():
        drawn = {result.name: result for result in draw_all(study, ())}
    titles = [axes.get_title(loc="left") for axes in figure_of(drawn, name).axes]
    errors: list[list[float]] = [[], []]
    for run in runs:
        answers = predictions([run])[run.folder]
        judge = halves(answers.split)[1]
        temperature = Card.read(run.folder / "calibrated" / "card.json").temperature
        for position, scale in enumerate((1.0, temperature)):
            logits = answers.logits[judge] / scale
            errors[position].append(100 * evaluate.metrics(logits, answers.labels[judge], epoch=1).ece)
    before, after = (estimate(found) for found in errors)
    assert titles[0] == f"before: ECE {before.mean:.1f} ± {before.half_width:.1f} %"
    assert titles[1] == f"after temperature scaling: ECE {after.mean:.1f} ± {after.half_width:.1f} %"


@pytest.mark.slow
def test_pictures_are_whole_listed_and_the_same_when_the_command_draws_them(
    study: StudyRuns, folder: Path, tmp_path: Path
) -> None:
    before = dict(matplotlib.rcParams)
    entries, left_out = draw_study(study, (), tmp_path / "figures")
    assert dict(matplotlib.rcParams) == before
    listed = INDEX.validate_json((tmp_path / "figures" / "figures.json").read_bytes())
    assert listed == tuple(entries)
    assert {missing.name for missing in left_out} == {"speed-up", "image-size", "hints", "lengths"}
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {"figures.json", *(entry.png for entry in entries), *(entry.svg for entry in entries)}
    for entry in entries:
        with Image.open(tmp_path / "figures" / entry.png) as picture:
            picture.load()
            assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert "3 seeds" in entry.caption
    first = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    command = [sys.executable, "-m", "distill", "figures", str(folder), "--out", str(tmp_path / "again")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [str(tmp_path / "again" / "figures.json")]
    assert "left out: image-size: every run of the study sees 32 px" in ended.stderr
    assert f"python -m bench report --figures {tmp_path / 'again'}" in ended.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
    assert ">KD T=4</text>" in (tmp_path / "figures" / entries[1].svg).read_text()


def test_a_half_finished_study_is_drawn_and_says_so(tmp_path: Path) -> None:
    grid = [Cell(name, config(name, NETWORK, seed)) for name in ("scratch", "KD T=4") for seed in range(2)]
    write_study(tmp_path, grid, [0.7, 0.8, None, None])
    study = read_study(tmp_path)
    assert study.unfinished == tuple(f"{NETWORK}, KD T=4, seed {seed}" for seed in range(2))
    with house_style():
        drawn = {result.name: result for result in draw_all(study, ())}
    assert isinstance(drawn["accuracy"], LeftOut)
    of_student = drawn[f"accuracy-{NETWORK.replace(':', '-')}"]
    assert isinstance(of_student, Drawing)
    assert "Unfinished study: 2 of 4 cells" in of_student.caption


def test_one_lucky_seed_of_an_unfinished_technique_is_not_the_best(study: StudyRuns) -> None:
    lucky = study.of(NETWORK, "KD T=4")[:1]
    runs = [*lucky, *study.of(NETWORK, "CTKD cosine")]
    assert best_technique(runs) == "CTKD cosine"
    assert best_technique(lucky) == "KD T=4"
    assert best_technique([]) is None


def test_a_single_seed_has_no_interval(tmp_path: Path) -> None:
    write_study(tmp_path, [Cell("scratch", config("scratch", NETWORK, 0))], [0.7])
    with house_style():
        drawn = {result.name: result for result in draw_all(read_study(tmp_path), ())}
    ((mean, intervals),) = errorbars(figure_of(drawn, f"accuracy-{NETWORK.replace(':', '-')}")).values()
    assert mean[0, 0] == pytest.approx(70.0)
    assert not intervals
    left_out = drawn["speed-up"]
    assert isinstance(left_out, LeftOut)
    assert "no single teacher" in left_out.reason


def test_sizes_are_drawn_against_each_other(tmp_path: Path) -> None:
    sizes = (32, 24)
    grid = [
        Cell(f"{name} at {size} px", config(name, NETWORK, seed, f"image.size_px={size}"))
        for size in sizes
        for name in ("scratch", "KD T=4")
        for seed in range(2)
    ]
    teacher_sees = {"image": grid[0].config.image}
    grid = [
        Cell(
            cell.technique,
            cell.config.model_copy(update={"teacher": cell.config.teacher.model_copy(update=teacher_sees)})
            if cell.config.teacher
            else cell.config,
        )
        for cell in grid
    ]
    write_study(tmp_path, grid, [0.8, 0.82, 0.84, 0.86, 0.6, 0.62, 0.64, 0.68], baseline="scratch at 32 px")
    with house_style():
        drawn = {result.name: result for result in draw_all(read_study(tmp_path), ())}
    assert isinstance(drawn["accuracy"], LeftOut)
    figure = figure_of(drawn, "image-size")
    accuracy, seconds = errorbars(figure, 0), errorbars(figure, 1)
    assert list(accuracy) == ["scratch", "KD T=4"]
    marks, intervals = accuracy["KD T=4"]
    assert marks[:, 0] == pytest.approx([24, 32], rel=0.02)
    assert marks[:, 1] == pytest.approx([66.0, 85.0])
    half = estimate([64.0, 68.0]).half_width
    assert half is not None
    assert intervals[0][:, 1] == pytest.approx([66 - half, 66 + half])
    # The fastest of four epochs: 2.6 s + the seed (0 or 1) + size / 100.
    assert seconds["scratch"][0][:, 1] == pytest.approx([2.6 + 0.5 + 0.24, 2.6 + 0.5 + 0.32])


@pytest.fixture(scope="module")
def of_hints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups that share training from scratch; in the first AT at four places, FitNet at two."""
    path = tmp_path_factory.mktemp("hints")
    searched, last = ("hints.metric=gcd",), ("hints.metric=gcd", "hints.position=last")
    systems: list[tuple[str, str, str, str | None, tuple[str, ...], float]] = [
        ("one", "scratch", "scratch", None, (), 0.50),
        ("one", "FitNet, stage ends", "fitnet", None, (), 0.60),
        ("one", "FitNet, searched hints", "fitnet", "FitNet, stage ends", searched, 0.64),
        ("one", "AT, last of stages", "attention_transfer", None, (), 0.60),
        (
            "one",
            "AT, last of clusters",
            "attention_transfer",
            "AT, last of stages",
            last,
            0.58,
        ),
        ("one", "AT, centre of clusters", "attention_transfer", "AT, last of stages", searched, 0.62),
        ("two", "scratch", "scratch", None, (), 0.50),
    ]
    cells: list[Cell] = []
    for (group, technique, kind, baseline, more, _), seed in itertools.product(systems, range(2)):
        run = config("scratch" if kind == "scratch" else "KD", NETWORK, seed)
        run = run if kind == "scratch" else with_overrides(run, [f"method.kind={kind}", *more])
        cells.append(Cell(technique, run, baseline, group))
    write_study(path, cells, [system[-1] + 0.01 * seed for system in systems for seed in range(2)])
    return path


def test_each_system_has_a_bar_at_conventional_and_at_searched_places(of_hints: Path) -> None:
    study = read_study(of_hints)
    with house_style():
        drawn = {result.name: result for result in draw_hints(study)}
    (axes,) = figure_of(drawn, "hints").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["FitNet"]
    bars = [patch.get_height() for container in axes.containers for patch in getattr(container, "patches", ())]
    assert bars == pytest.approx([60.5, 64.5])
    half = estimate([60.0, 61.0]).half_width
    assert half is not None
    assert axes.get_ylim()[0] < 50.5
    assert axes.get_ylim()[0] <= 60.5 - half
    assert "axis does not begin at 0" in drawn["hints"].caption  # type: ignore[union-attr]


def test_a_run_of_two_groups_counts_once_where_groups_do_not_matter(of_hints: Path) -> None:
    study = read_study(of_hints)
    assert (len(study.repeats), len(study.runs)) == (14, 12)
    assert study.students == ["one", "two"]
    assert {student: teacher.accuracy for student, teacher in study.teachers.items()} == {"one": TEACHER_ACCURACY}


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_papers_tables_hold_what_the_runs_say(of_hints: Path, tmp_path: Path) -> None:
    study = read_study(of_hints)
    written = {board.name: board for board in write_boards(study, (), tmp_path)}
    assert set(written) == {"hint-positions", "hints-compared", "methods-compared", "compression"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in written for end in ("md", "csv")}
    (pair,) = table(tmp_path / "hints-compared.csv")
    assert (pair["student"], pair["system"]) == ("one", "FitNet")
    names = ("scratch_mean", "conventional_mean", "searched_mean", "searched - conventional_mean")
    assert [float(pair[name]) for name in names] == pytest.approx([0.505, 0.605, 0.645, 0.04])
    assert pair["p"] == "0.000"
    positions = table(tmp_path / "hint-positions.csv")
    assert [(row["clusters by"], row["technique"].split(", ")[1]) for row in positions] == [
        ("stages", "last of stages"),
        ("gcd", "last of clusters"),
        ("gcd", "centre of clusters"),
    ]
    methods = (tmp_path / "methods-compared.md").read_text()
    assert "| family | technique | one | two |" in methods
    assert f"| – | teacher | {100 * TEACHER_ACCURACY:.2f} | – |".replace("| – | teacher", "|  | teacher") in methods
    half = estimate([0.60, 0.61]).half_width
    assert half is not None
    assert f"| features | FitNet, stage ends | 60.50 ± {100 * half:.2f} | – |" in methods
    of_teacher, of_student = table(tmp_path / "compression.csv")
    assert (of_teacher["network"], of_student["network"]) == (f"teacher {NETWORK}", "one")
    assert (of_student["technique"], of_student["saved %"]) == ("FitNet, searched hints", "0.0")


def test_a_study_without_hints_or_features_has_none_of_these_tables(study: StudyRuns, tmp_path: Path) -> None:
    assert write_boards(study, (), tmp_path) == []
    (left_out,) = draw_hints(study)
    assert isinstance(left_out, LeftOut)


def test_changed_validation_images_are_refused(folder: Path) -> None:
    study = read_study(folder)
    run = study.repeats[0]
    data = run.training.data.model_copy(update={"validation_sha256": "0" * 64})
    changed = run.training.model_copy(update={"data": data})
    with pytest.raises(WorkFailed, match="not those that"):
        predictions([type(run)(run.technique, run.folder, run.card, changed, run.config, run.epochs)])


def test_a_folder_without_a_study_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="python -m distill study STUDY --out"):
        read_study(tmp_path)


def test_a_study_without_a_finished_cell_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_study(tmp_path, [Cell("scratch", config("scratch", NETWORK, 0))], [None])
    with pytest.raises(UsageError, match="python -m distill study hand-made --out"):
        read_study(tmp_path)


def test_a_journal_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="python -m bench ARTIFACT"):
        read_times(tmp_path / "nothing.jsonl")


def test_epochs_needed_are_read_between_the_lengths_trained() -> None:
    curve = [(3, 0.5), (6, 0.6), (12, 0.8)]
    assert epochs_needed(curve, 0.7) == pytest.approx(9)
    assert epochs_needed(curve, 0.55) == pytest.approx(4.5)
    assert epochs_needed(curve, 0.4) == 3
    assert epochs_needed(curve, 0.9) is None


def test_accuracy_against_length_shows_every_length_and_says_seed_by_seed_what_is_saved(study: StudyRuns) -> None:
    repeats = []
    for technique, gain in (("ReviewKD", 0.0), ("process", 0.1)):
        for epochs, seed in itertools.product((2, 4, 8), range(3)):
            run = study.repeats[seed]
            training = run.training.model_copy(
                update={
                    "seed": seed,
                    "last": run.training.last.model_copy(update={"accuracy": 0.1 * epochs / 2 + gain + seed / 100}),
                }
            )
            config = with_overrides(run.config, [f"training.epochs={epochs}"])
            name = technique if epochs == 8 else f"{technique} after {epochs} epochs"
            repeats.append(replace(run, technique=name, training=training, config=config))
    (found,) = draw_lengths(replace(study, baseline="ReviewKD", repeats=tuple(repeats)))
    assert isinstance(found, Drawing)
    bars = errorbars(found.figure)
    assert list(bars) == ["ReviewKD", "process"]
    marks, intervals = bars["process"]
    assert marks == pytest.approx(np.array([[2, 21], [4, 31], [8, 51]]))
    assert len(intervals) == 3
    saved = "process reaches in 3 of 3 seeds what ReviewKD has in the end, there after 6.0 ± 0.0 of 8 epochs"
    assert saved in found.caption


def test_a_study_of_one_length_has_no_such_figure(drawn: dict[str, Drawing | LeftOut]) -> None:
    assert isinstance(drawn["lengths"], LeftOut)
