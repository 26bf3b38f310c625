"""The record of a loop is a contract: what is on disk stays readable."""

import json
from pathlib import Path

import pytest

from android_demo.ship.answer import figures
from android_demo.ship.page import headline, render
from android_demo.ship.record import Ship
from distill.errors import UsageError

GOLDEN = Path(__file__).parent / "golden/ship.json"


def test_the_golden_record_is_read_and_written_as_it_is() -> None:
    record = Ship.read(GOLDEN)
    assert json.loads(record.to_json()) == json.loads(GOLDEN.read_text())


def test_a_record_of_version_1_is_read_as_one_without_a_phones_answers_and_an_app() -> None:
    record = Ship.read(GOLDEN.with_name("ship-1.json"))
    assert (record.schema_version, record.app, record.on_device, record.question.install) == (5, None, (), False)
    assert "What is unproven" in render(record)


def test_a_record_of_version_2_is_read_as_one_of_the_models_call_at_rest() -> None:
    record = Ship.read(GOLDEN.with_name("ship-2.json"))
    assert record.choice
    assert (record.choice.latency, record.choice.sustained, record.question.sustained) == ("model", False, None)
    assert record.app
    assert "What the phone answered" in render(record)


def test_a_record_of_version_3_is_read_as_one_of_the_only_phone() -> None:
    record = Ship.read(GOLDEN.with_name("ship-3.json"))
    assert (record.question.serials, [each.phone for each in record.on_device]) == ((), [""])
    assert record.question.sustained == "10m"


def test_a_record_of_version_4_is_one_of_classifiers_and_keeps_its_phones() -> None:
    record = Ship.read(GOLDEN.with_name("ship-4.json"))
    assert record == Ship.read(GOLDEN)
    assert [each.phone for each in record.on_device] != [""]


def test_a_record_of_another_task_speaks_of_its_measure() -> None:
    record = Ship.read(GOLDEN)
    assert record.choice
    assert record.choice.winner
    assert "of the teacher’s accuracy" in headline(record)
    depth = record.model_copy(update={"task": "depth"})
    assert headline(depth).endswith("of the teacher’s δ < 1.25")
    assert "<dt>δ &lt; 1.25</dt>" in render(depth)
    share, images = 100 * record.choice.winner.accuracy, record.choice.winner.accuracy_images
    assert f"{share:.1f} % of {images} images right" in figures(record.choice.winner, record.measure)
    assert f"δ < 1.25 {share:.1f} % on {images} images" in figures(record.choice.winner, depth.measure)


@pytest.mark.parametrize("change", [{"schema_version": 99}, {"mood": "good"}, {"outcome": "perhaps"}])
def test_anything_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Ship.from_json(json.dumps(json.loads(GOLDEN.read_text()) | change), source="ship.json")


def test_names_are_shown_as_they_are_and_never_as_markup() -> None:
    record = Ship.read(GOLDEN).model_copy(update={"answer": "<script>alert(1)</script>"})
    page = render(record)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
