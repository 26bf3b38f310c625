"""Held-out pictures answered on a loopback phone, by an app that decodes and resizes them itself; and its mistakes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.android.answers import Prepared, Question, Questions
from bench.android.instruments import NativeRunner
from bench.android.options import PhoneOptions, open_phones
from bench.measure import only_answers
from bench.record import Measurement, read_journal
from bench.session.answers.held_out import HeldOut, load_once
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.session.answers.packs import pack
from bench.session.cells import Cell, plan
from bench.timing.loop import Limits
from bench.timing.proportions import share_interval
from distill.errors import UsageError
from distill.vision.datasets.image_folder import ImageFolder
from export.artifact.runner import Batch
from tests.loopback_phone.phone import AGENT

FAULTY = Path(__file__).with_name("faulty_agent.py")
CLASSES = ("a", "b", "c")
COUNT = 90


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured pictures of odd sides, 30 of each class; one TIFF, which no phone decodes."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for split, count in (("train", 1), ("validation", COUNT // 3)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                blocks = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
                picture = Image.fromarray(blocks).resize((int(rng.integers(20, 60)), int(rng.integers(9, 40))), 3)
                kind = "tiff" if (name, number, split) == ("b", 7, "validation") else "png"
                picture.save(root / split / name / f"{number}.{kind}")
    return root


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(192, 3)).astype(np.float32)


def by_numpy(weights: np.ndarray) -> Callable[[Batch], Batch]:
    return lambda inputs: (inputs.reshape(len(inputs), -1) @ weights).astype(np.float32)


@pytest.fixture
def ask(make_artifact, pictures, weights, tmp_path) -> Callable[..., tuple[Cell, Questions]]:
    """ask(weights of the artifact, weights of eager, agreement of the two that the manifest promises): a linear
    artifact and its question, answered here by NumPy."""

    def make(own: np.ndarray = weights, eager: np.ndarray = weights, promised: float = 1.0) -> tuple[Cell, Questions]:
        folder = make_artifact("linear", dataset=ImageFolder(path=str(pictures)), weights=own)
        (cell,) = plan([folder], batches=[1], threads=[1], refusal=lambda manifest: None).cells
        parity = cell.manifest.parity.model_copy(update={"top1_agreement": promised})
        cell = replace(cell, manifest=cell.manifest.model_copy(update={"parity": parity}))
        held_out = load_once([cell], COUNT, None)[folder]
        assert isinstance(held_out, HeldOut)
        (tmp_path / "packs").mkdir()
        inputs = cell.manifest.preprocess.to_input(held_out.images)

        def run(linear: np.ndarray) -> Callable:
            return lambda sets: {name: by_numpy(linear)(values) for name, values in sets.items()}

        question = Question(
            held_out=held_out,
            packed=pack(held_out, tmp_path / "packs"),
            host=by_numpy(own)(inputs),
            eager=by_numpy(eager)(inputs),
            run_artifact=run(own),
            run_eager=run(eager),
        )
        return cell, {folder: question}

    return make


@pytest.fixture
def app(start_phone) -> Callable[..., object]:
    """app(mistake): a phone whose app makes it."""

    def start(mistake: str = "none", **fields: object) -> object:
        program = f'#!/system/bin/sh\nexec python3 /opt/faulty.py {mistake} {AGENT} "$1" "$2"\n'
        return start_phone(program=program, mounts={"/opt/faulty.py": FAULTY}, **fields)

    return start


def measured(bench, cell: Cell, questions: Questions) -> Measurement:
    ((_, row),) = bench.measure_with(Prepared(questions), [cell], run_id="r", tell=lambda text: None)
    return row


def test_a_phones_answers_are_judged_beside_eager_on_the_very_same_pictures(app, ask, make_bench, weights, tmp_path):
    noise = np.random.default_rng(1).normal(size=weights.shape).astype(np.float32)
    cell, questions = ask(eager=weights + 0.2 * noise, promised=0.8)
    (question,) = questions.values()
    bench = make_bench(app(), accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    row = measured(bench, cell, questions)
    answered = row.answered
    assert row.validity != "failed", row.reason
    assert answered is not None
    assert answered.eager is not None
    here, eager, labels = question.host.argmax(1), question.eager.argmax(1), question.held_out.labels
    right = here == labels
    assert row.measured_accuracy == answered.accuracy == pytest.approx(float(np.mean(right)))
    assert answered.accuracy_interval == pytest.approx(share_interval(float(np.mean(right)), COUNT))
    assert row.measured_agreement == pytest.approx(float(np.mean(here == eager)))
    assert (answered.host_agreement, answered.fault) == (1.0, None)
    assert (answered.host_difference or 0) < 1e-5
    assert answered.class_correct == tuple(int((right & (labels == label)).sum()) for label in range(3))
    assert answered.eager.only_here == int((right & (eager != labels)).sum())
    changed = {each.picture: (each.label, each.eager, each.here) for each in answered.eager.changed}
    assert 0 < len(changed) < COUNT
    assert changed == {
        question.held_out.names[at]: (CLASSES[labels[at]], CLASSES[eager[at]], CLASSES[here[at]])
        for at in np.flatnonzero(here != eager)
    }
    assert answered.rewritten == 1
    (kept,) = (tmp_path / "answers" / "r").iterdir()
    with np.load(kept) as file:
        np.testing.assert_allclose(file["logits"], question.host, atol=1e-4)


MISTAKES = {
    "swapped_channels": "the colour channels are swapped",
    "another_resize": "cropped to the centre square instead of stretched (another resize rule)",
    "nearest_pixels": "resized to the nearest pixel (another resize rule)",
    "class_order": "the classes are in another order (a stands for b, b stands for c, c stands for a)",
    "corrupted": "its runtime or the model there is corrupted",
}


def test_a_mistake_of_the_device_is_found_and_named(app, ask, make_bench, tmp_path):
    cell, questions = ask()
    phone = app("$(cat /data/local/tmp/mistake)")
    for mistake, words in MISTAKES.items():
        (phone.tmp / "mistake").write_text(mistake)
        row = measured(make_bench(phone, accuracy=AccuracyOptions(COUNT, keep=tmp_path / mistake)), cell, questions)
        assert row.answered is not None, mistake
        assert words in (row.answered.fault or ""), mistake
        assert row.validity in ("wrong", "failed")
        assert row.wrong
        assert words in row.reason


def test_a_corrupted_model_answers_alike_here_and_there_and_is_found_by_eager(app, ask, make_bench, weights, tmp_path):
    spoilt = weights.copy()
    spoilt[:60] *= -1
    cell, questions = ask(own=spoilt)
    bench = make_bench(app(), accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    row = measured(bench, cell, questions)
    assert row.answered is not None
    assert row.answered.host_agreement == 1.0
    assert (row.validity, row.samples_ms != ()) == ("wrong", True)
    assert "the model is corrupted or not the one that was proven" in row.reason


def test_a_model_that_was_exported_for_other_channels_is_named(app, ask, make_bench, weights, tmp_path):
    other = weights.reshape(3, 64, 3)[::-1].reshape(192, 3).copy()
    cell, questions = ask(own=other)
    bench = make_bench(app(), accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    assert "as if the colour channels are swapped" in measured(bench, cell, questions).reason


def test_pictures_that_the_phone_does_not_decode_count_as_wrong_and_are_named(app, ask, make_bench, tmp_path):
    cell, questions = ask()
    (question,) = questions.values()
    bench = make_bench(app("decoder_fails"), accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    row = measured(bench, cell, questions)
    assert row.answered is not None
    assert row.answered.eager is not None
    assert len(row.answered.unreadable) == COUNT // 10
    name = question.held_out.names[9]
    assert row.answered.unreadable[0] == f"{name}: OSError: its format is not known here"
    assert next(each for each in row.answered.eager.changed if each.picture == name).here is None
    assert row.answered.fault is None


def test_a_cable_pulled_in_the_middle_costs_nothing(app, ask, adb_server, make_bench, tmp_path):
    cell, questions = ask()
    phone = app("slow_answers")
    told: list[str] = []

    def pull_when_answering() -> None:
        while not any("of 90 pictures" in text for text in list(told)):
            time.sleep(0.02)
        adb_server.detach(phone)

    puller = threading.Thread(target=pull_when_answering)
    puller.start()
    bench = make_bench(phone, accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    ((_, row),) = bench.measure_with(Prepared(questions), [cell], run_id="r", tell=told.append)
    puller.join()
    assert row.answered is not None
    assert row.answered.host_agreement == 1.0
    assert any("waiting for it" in text for text in told)
    assert any("left" in text for text in told)


def test_a_session_that_goes_on_asks_nothing_twice_and_leaves_nothing_there(app, ask, make_bench, tmp_path):
    cell, questions = ask()
    phone = app("dies_half_way")
    bench = make_bench(phone, accuracy=AccuracyOptions(COUNT, keep=tmp_path / "answers"))
    died = measured(bench, cell, questions)
    assert died.answered is None
    assert "the instrument ended without a result while answering" in died.measured_note
    whole = measured(bench, cell, questions)
    assert whole.answered is not None
    told: list[str] = []
    ((_, again),) = bench.measure_with(Prepared(questions), [cell], run_id="r", tell=told.append)
    assert again.answered == whole.answered
    assert not any("answering" in text for text in told)
    assert not (phone.tmp / "pocket-distill").exists()
    # Another phone of the same session answers for itself.
    other = measured(make_bench(app("class_order"), accuracy=bench.accuracy), cell, questions)
    assert "the classes are in another order" in other.reason


def test_a_session_that_was_cut_off_before_its_first_row_is_known_by_its_answers(tmp_path, make_measurement):
    assert only_answers(tmp_path / "answers", []) is None
    for name, age_s in (("older", 100), ("newest", 50)):
        (tmp_path / "answers" / name).mkdir(parents=True)
        then = time.time() - age_s
        os.utime(tmp_path / "answers" / name, (then, then))
    before = make_measurement(utc_time="2001-01-01T00:00:00+00:00")
    assert only_answers(tmp_path / "answers", [before]) == "newest"
    assert only_answers(tmp_path / "answers", [before.model_copy(update={"run_id": "newest"})]) == "older"
    later = datetime.now(UTC).isoformat(timespec="seconds")
    assert only_answers(tmp_path / "answers", [before.model_copy(update={"utc_time": later})]) is None


def test_a_native_runner_reads_no_pictures():
    options = PhoneOptions(instrument=NativeRunner().name)
    with pytest.raises(UsageError, match="the native instrument reads no pictures"):
        open_phones(options, AccuracyOptions(10), PathOptions(), limits=Limits(), timeout_s=1)


@pytest.mark.slow
def test_accuracy_on_the_command_line(start_phone, make_artifact, pictures, weights, cli_environment, tmp_path):
    """Logits of this machine come from ONNX Runtime in a process of its own."""
    start_phone()
    make_artifact("linear", dataset=ImageFolder(path=str(pictures)), weights=weights)
    command = [sys.executable, "-m", "bench", "artifacts", "--device", "android", "--launches", "1", "--accuracy", "20"]
    done = subprocess.run(
        [*command, "--repeat", "5", "--json", "--out", "m.jsonl"],
        capture_output=True,
        text=True,
        timeout=240,
        env=cli_environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = read_journal(tmp_path / "m.jsonl").measurements
    assert json.loads(done.stdout)["measurements"][0]["answered"] is not None
    assert row.answered is not None
    assert (row.answered.answers.num_images, row.answered.host_agreement, row.answered.eager) == (20, 1.0, None)
    assert row.measured_note.startswith("no agreement: the eager artifact of this checkpoint is not beside this one")
    assert row.repeated is not None
    assert (row.repeated.calls, len(row.repeated.outputs)) == (5, 1)
    assert list((tmp_path / "answers" / row.run_id).glob("*.npz"))
