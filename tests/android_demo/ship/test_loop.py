"""The loop from question to page, with commands that stand in for the slow ones: every end it can come to."""

import hashlib
import json
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from android_demo.ship.ground import OF_PIXELS, told_apart
from android_demo.ship.page import PAGE_FILE, rejected, render
from android_demo.ship.record import Ship
from distill.checkpoint import SegmentationMetrics
from distill.vision.datasets import EchoPhantomMasks
from tests.android_demo.ship.conftest import Home
from tests.distill.test_checkpoint import golden_card

WORDS = ("--device", "cpu", "--students", "small,medium,large", "--formats", "onnx,executorch", "--epochs", "4")
LATENCIES = {"small": 1.0, "medium": 3.0, "large": 20.0, "teacher": 40.0}
ACCURACIES = {"small": 0.80, "medium": 0.90, "large": 0.91, "teacher": 0.92}


def with_tables(home: Home) -> Home:
    """The embedded data, and students of which `large` is too slow for 5 ms."""
    home.set("latencies.json", LATENCIES)
    home.set("accuracies.json", ACCURACIES)
    return home


@pytest.fixture
def phantom(home: Home) -> Home:
    return with_tables(home)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A loop that went to its end. A test may ask for more there, but begins with what lies in `first`."""
    home = with_tables(Home(tmp_path_factory.mktemp("shipped") / "home"))
    home.first = home.ship(*WORDS)
    assert home.first.returncode == 0, home.first.stderr
    home.first_record = home.record()
    home.first_work = home.work()
    return home


def told(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_the_most_accurate_inside_the_budget_goes_out_and_every_number_leads_to_a_file(shipped: Home) -> None:
    assert shipped.first.stdout.strip() == str(shipped.out / PAGE_FILE)
    record = shipped.first_record
    assert record.outcome == "shipped"
    assert record.choice
    assert record.choice.winner
    assert (record.choice.winner.name.split()[0], record.choice.winner.precision) == ("medium", "int8")
    assert {each.student: each.kept for each in record.screened} == {"small": True, "medium": True, "large": False}
    assert "all are outside; the fastest, onnx int8, takes 14.000 ms (13.300 to 14.700)" in record.screened[2].reason
    assert set(shipped.first_work.values()) == {1}
    assert not any("large" in piece for piece in shipped.first_work if not piece.startswith("time"))
    identities = [each.card for each in record.trained] + [each.manifest for each in record.exported]
    for identity in (*identities, record.bundle):
        assert identity
        assert hashlib.sha256(Path(identity.path).read_bytes()).hexdigest() == identity.sha256
    page = render(record)
    for words in ("medium", "What is unproven", "all are outside", "Nothing was measured on a phone", "× the time"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")


def test_another_budget_gives_another_winner_and_repeats_nothing_that_is_done(shipped: Home) -> None:
    again = shipped.ship(*WORDS)
    assert again.returncode == 0
    assert shipped.record().model_copy(update={"utc_time": ""}) == shipped.first_record.model_copy(
        update={"utc_time": ""}
    )
    assert "steps were finished before and not repeated" in again.stderr
    assert shipped.ship(*WORDS, "--max-latency-ms", "1.5").returncode == 0
    record = shipped.record()
    assert record.choice
    assert record.choice.winner
    assert record.choice.winner.name.startswith("small")
    twice = {piece for piece, count in shipped.work().items() if count > 1}
    assert all(piece.startswith("measure") for piece in twice)  # rows are taken anew beside other artifacts


def test_a_full_disk_is_named_and_nothing_is_lost(shipped: Home) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((shipped.out / "steps.jsonl").stat().st_size, limits[1]))
    try:
        full = shipped.ship(*WORDS, "--max-latency-ms", "4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.returncode == 1
    assert "cannot write" in told(full.stderr)
    assert "steps.jsonl" in told(full.stderr)
    assert shipped.ship(*WORDS, "--max-latency-ms", "4").returncode == 0


def test_a_teacher_of_other_classes_is_refused_before_any_work(shipped: Home) -> None:
    (shipped.folder / "pictures").mkdir()
    teacher = shipped.folder / "teacher"
    shutil.copytree(shipped.out / "runs/teacher", teacher)
    card = json.loads((teacher / "best/card.json").read_text())
    (teacher / "best/card.json").write_text(json.dumps(card | {"class_names": ["dark", "glaring"]}))
    before = shipped.work()
    words = ("--data", "pictures", "--teacher", str(teacher), "--out", str(shipped.folder / "other"))
    bad = shipped.ship(*WORDS, *words)
    assert bad.returncode == 2
    assert "only the data have light; only the teacher has glaring" in told(bad.stderr)
    (teacher / "best/card.json").write_text(json.dumps(card))
    good = shipped.ship(*WORDS, *words, "--dry-run")
    assert good.returncode == 0, good.stderr
    assert "pictures: 2 classes, 100 train, 40 validation" in told(good.stderr)
    other = shipped.ship(*WORDS, "--teacher", str(teacher))
    assert other.returncode == 2
    assert "holds what was made of other data, settings or another teacher" in told(other.stderr)
    assert shipped.work() == before


def test_nothing_fits_says_what_stands_in_the_way_and_what_would_have_to_give(phantom: Home) -> None:
    done = phantom.ship(*WORDS, "--min-relative-accuracy", "0.99")
    assert done.returncode == 1
    record = phantom.record()
    assert record.outcome == "nothing-fits"
    assert record.bundle is None
    assert record.choice
    assert record.choice.nearest_miss
    assert "Most in the way is at least 99 % of the teacher's accuracy" in record.answer
    assert "Nearest miss: medium" in record.answer
    assert record.answer in told(done.stderr)
    assert "Nothing fits" in (phantom.out / PAGE_FILE).read_text()


def test_a_form_that_is_too_slow_untrained_is_rejected_by_name(phantom: Home) -> None:
    phantom.set("latencies.json", {"medium": 6.0, "teacher": 40.0})
    words = ("--device", "cpu", "--students", "medium", "--formats", "onnx", "--epochs", "1")
    done = phantom.ship(*words)
    assert done.returncode == 0, done.stderr
    record = phantom.record()
    assert [[rung.epochs for rung in each.rungs] for each in record.trained] == [[1]]
    assert [(each.format, each.precision) for each in record.exported if each.student == "medium"] == [("onnx", "int8")]
    assert [(each.what, each.step) for each in rejected(record)] == [("medium, onnx fp32", "timed untrained")]
    assert "it takes 6.000 ms (5.700 to 6.300) and has 1.00 MB" in (phantom.out / PAGE_FILE).read_text()


def test_phones_of_one_name_are_told_apart_by_their_serials() -> None:
    names = {"A": "Pixel", "B": "Galaxy", "C": "Pixel"}
    assert told_apart(names) == {"A": "Pixel (A)", "B": "Galaxy", "C": "Pixel (C)"}


def test_a_budget_that_no_untrained_student_meets_costs_no_epoch(phantom: Home) -> None:
    done = phantom.ship(*WORDS, "--max-latency-ms", "0.1")
    assert done.returncode == 1
    assert "no student was worth training" in told(done.stderr)
    assert "0.1 ms would have to be 7.35 times as much" in phantom.record().answer
    assert not any(piece.startswith(("train", "export", "measure")) for piece in phantom.work())


@pytest.mark.slow
def test_killed_in_the_middle_of_every_step_it_goes_on_and_repeats_nothing(phantom: Home, shipped: Home) -> None:
    for work in ("time medium", "train teacher 2", "train medium 1", "train medium 3", "export medium"):
        assert phantom.kill_at(work, *WORDS) == -signal.SIGKILL
    assert phantom.kill_at("measure small", *WORDS) == -signal.SIGKILL
    assert phantom.kill_at("measure medium", *WORDS, with_signal=signal.SIGINT) == 130
    done = phantom.ship(*WORDS)
    assert done.returncode == 0, done.stderr
    assert phantom.work() == shipped.first_work
    assert essence(phantom, phantom.record()) == essence(shipped, shipped.first_record)


def essence(home: Home, ship: Ship) -> Any:
    """What a record says, without where and when."""
    record = json.loads(ship.to_json().replace(str(home.folder), ""))
    for key in ("utc_time", "seconds", "steps"):
        record.pop(key)
    record["choice"]["journal"].pop("sha256")  # of rows with a session's own id
    record["bundle"].pop("sha256")
    return record


def test_a_student_that_cannot_be_trained_costs_itself_alone(phantom: Home) -> None:
    phantom.set("fail-at", "train small")
    assert phantom.ship(*WORDS).returncode == 0
    record = phantom.record()
    failed = next(each for each in record.trained if each.student == "small")
    assert not failed.finalist
    assert "failed with 1" in failed.reason
    assert [each.student for each in record.trained if each.finalist] == ["medium"]


def test_all_that_fail_end_in_words_and_the_next_session_goes_on(phantom: Home) -> None:
    phantom.set("fail-at", "train")
    done = phantom.ship(*WORDS)
    assert done.returncode == 1
    assert "failed with 1" in told(done.stderr)
    (phantom.folder / "fail-at").unlink()
    assert phantom.ship(*WORDS).returncode == 0
    assert set(phantom.work().values()) == {1}


def test_int8_that_loses_too_much_goes_out_by_the_doctors_recipe(phantom: Home) -> None:
    phantom.set("refuse-int8", "")
    assert phantom.ship(*WORDS, "--formats", "onnx").returncode == 0
    record = phantom.record()
    mended = [each for each in record.exported if each.recipe]
    assert {(each.student, each.format, each.precision) for each in mended} == {
        ("small", "onnx", "int8"),
        ("medium", "onnx", "int8"),
    }
    assert all(each.manifest and each.status == "made" for each in mended)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--time", "soon"), "--time 'soon' is no duration"),
        (("--device", "abacus"), "--device 'abacus': a model ships for cpu (this machine) or android."),
        (("--students", "a,,b"), "--students 'a,,b' is not a list of names"),
        (("--formats", "gguf"), "there is no format gguf"),
        (("--formats", "litert"), "none of litert can be made and run here"),
        (("--data", "nowhere"), "DATA nowhere is no folder"),
        (("--teacher", "nowhere"), "nowhere is not a checkpoint"),
        (("--device", "android"), "no device is connected"),
        (("--device", "cpu", "--sustained", "4m"), "--sustained 4m is for phones; this ships for cpu"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(home: Home, words: tuple[str, ...], expected: str) -> None:
    done = home.ship(*WORDS[:2], *words)
    assert done.returncode == 2, done.stderr
    assert expected in told(done.stderr)
    assert home.work() == {}


def test_a_teacher_that_is_trained_here_takes_half_of_the_time_at_most_and_is_kept(phantom: Home) -> None:
    phantom.set("seconds.json", {"teacher": 700.0})
    words = ("--device", "cpu", "--students", "small", "--formats", "onnx", "--epochs", "1")
    first = phantom.ship(*words, "--time", "30m")
    assert first.returncode == 0, first.stderr
    assert "the teacher gets 1 of its recipe's 2 epochs: more do not fit into the time" in told(first.stderr)
    enough = "The time was enough for 1 of the teacher's 2 epochs; a better teacher may teach better students."
    assert enough in phantom.record().unproven
    assert phantom.ship(*words, "--time", "5h").returncode == 0
    assert {piece for piece in phantom.work() if "teacher" in piece and piece.startswith("train")} == {
        "train teacher 1 of 2",
        "train teacher 1 of 1",
    }
    assert set(phantom.work().values()) == {1}


def test_students_for_masks_learn_from_their_teachers_own_pictures(phantom: Home) -> None:
    card = golden_card()
    assert card.training is not None
    metrics = SegmentationMetrics(epoch=1, miou=0.5, class_iou=(0.5, 0.5), dice=0.6, pixel_accuracy=0.9, loss=1.0)
    data = card.training.data.model_copy(update={"config": EchoPhantomMasks()})
    learnt = {"data": data, "best": metrics, "last": metrics, "validation": None, "test": None}
    training = card.training.model_copy(update=learnt)
    folder = phantom.folder / "teacher"
    folder.mkdir()
    (folder / "weights.safetensors").touch()
    of_masks = {"task": "segmentation", "training": training, "weights_sha256": hashlib.sha256().hexdigest()}
    card.model_copy(update=of_masks).write(folder / "card.json")
    words = ("--device", "cpu", "--teacher", str(folder))
    done = phantom.ship(*words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "mIoU 50.0 % on its validation images" in told(done.stderr)
    assert "time 3 untrained students" in told(done.stderr)
    (phantom.folder / "pictures").mkdir()
    refused = phantom.ship(*words, "--data", "pictures")
    assert refused.returncode == 2
    assert "is for segmentation, and DATA pictures would be read as pictures of classes" in told(refused.stderr)
    assert phantom.ship(*words, "--formats", "onnx", "--epochs", "1").returncode == 0
    record = phantom.record()
    assert [each.student for each in record.screened] == OF_PIXELS.split(",")
    runs = [step.command for step in record.steps if step.name.startswith("train ")]
    assert runs
    assert all("demo-segmentation" in " ".join(command) for command in runs)


def test_the_plan_alone_writes_nothing(phantom: Home) -> None:
    before = sorted(os.listdir(phantom.folder))
    done = phantom.ship(*WORDS, "--dry-run", "--time", "2h")
    assert done.returncode == 0, done.stderr
    assert "train the teacher" in done.stderr
    assert "in 2 h 0 min" in done.stderr
    assert [name for name in sorted(os.listdir(phantom.folder)) if name != "__pycache__"] == before


def test_without_a_phone_it_ships_for_this_machine_and_says_so(phantom: Home) -> None:
    done = phantom.ship(*WORDS[2:], "--dry-run")
    assert done.returncode == 0
    assert "no phone is connected: this ships for this machine" in done.stderr
    phantom.set("phone", "")
    assert "a phone is connected: this ships for it" in phantom.ship(*WORDS[2:], "--dry-run").stderr


def test_a_phone_that_goes_away_costs_nothing_but_the_wait(phantom: Home) -> None:
    on_phone = (*WORDS[2:], "--device", "android", "--students", "medium")
    phantom.set("phone", "")
    phantom.set("unplug-at", "measure medium onnx")
    gone = phantom.ship(*on_phone)
    assert gone.returncode == 1
    assert "the phone went away" in told(gone.stderr)
    (phantom.folder / "unplug-at").unlink()
    phantom.set("phone", "")
    back = phantom.ship(*on_phone)
    assert back.returncode == 0, back.stderr
    assert {piece for piece, count in phantom.work().items() if count > 1} == {"measure medium onnx fp32"}
    record = phantom.record()
    assert record.choice
    assert record.choice.winner
    assert record.app is None
    assert "No app was built, so its bytes are not known." in record.unproven
    assert "The phone answered no pictures: accuracy is the host's." in record.unproven
    assert "Nothing was measured on a phone: latency and memory are this machine's." not in record.unproven


def test_what_remains_when_the_phone_is_warm_decides_where_it_is_asked_for(phantom: Home) -> None:
    phantom.set("phone", "")
    phantom.set("latencies.json", {"medium": 40.0})
    words = ("--device", "android", "--students", "medium", "--formats", "onnx", "--precisions", "fp32", "--epochs")
    cold = phantom.ship(*words, "1", "--max-latency-ms", "50")
    assert cold.returncode == 0, cold.stderr
    assert any("--sustained" in sentence for sentence in phantom.record().unproven)
    warm = phantom.ship(*words, "1", "--max-latency-ms", "50", "--sustained", "4m")
    assert warm.returncode == 1, warm.stderr
    record = phantom.record()
    assert record.choice
    assert record.choice.sustained
    assert record.choice.nearest_miss
    assert record.choice.nearest_miss.median_ms == 60.0
    assert not any("--sustained" in sentence for sentence in record.unproven)


def test_of_two_phones_the_one_that_is_slower_decides(phantom: Home) -> None:
    phantom.set("phone", "")
    phantom.set("accuracies.json", {"small": 0.9, "medium": 0.9})
    phantom.set("latencies-A.json", {"small": 1.0, "medium": 3.0, "teacher": 40.0})
    phantom.set("latencies-B.json", {"small": 4.0, "medium": 2.0, "teacher": 40.0})
    words = ("--students", "small,medium", "--formats", "onnx", "--precisions", "fp32", "--epochs", "1")
    winners: list[str] = []
    for serials in (["A"], ["A", "B"]):
        done = phantom.ship(*words, *(f"--serial={serial}" for serial in serials))
        assert done.returncode == 0, done.stderr
        choice = phantom.record().choice
        assert choice
        assert choice.winner
        winners.append(f"{choice.winner.name.split()[0]} {choice.winner.median_ms:.1f}")
    assert winners == ["small 1.0", "medium 3.0"]
    assert "2 phones, the slowest of them each time: Pixel A, Android 15 and Pixel B" in phantom.record().device
    assert set(phantom.work().values()) == {1, 2}  # screened and measured on each phone, trained once
    assert all(count == 1 for piece, count in phantom.work().items() if piece.startswith(("train", "export")))


def test_two_loops_do_not_work_in_one_folder(phantom: Home) -> None:
    phantom.set("pause-at", "time small")
    first = phantom.start(*WORDS)
    while not (phantom.folder / "paused").is_file():
        assert first.poll() is None
    second = phantom.start(*WORDS)
    assert second.stderr
    for line in second.stderr:
        if "something else still works in" in line:
            break
    else:
        raise AssertionError("the second did not wait")
    (phantom.folder / "pause-at").unlink()
    os.kill(first.pid, signal.SIGINT)
    first.communicate()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert set(phantom.work().values()) == {1}
