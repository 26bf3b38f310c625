import json
from pathlib import Path

import pytest

from bench.record import Measurement, append, read_journal
from distill.errors import UsageError

GOLDEN = Path(__file__).parent / "golden" / "measurement.json"


def changed(**changes: object) -> str:
    return json.dumps({**json.loads(GOLDEN.read_text()), **changes})


def test_the_golden_measurement_is_read_and_written_back_to_the_byte():
    assert Measurement.read(GOLDEN).to_json() + "\n" == GOLDEN.read_text()


def test_an_unknown_key_is_named():
    with pytest.raises(UsageError, match=r"here is not a valid Measurement: latency_us: unknown key"):
        Measurement.from_json(changed(latency_us=3), source="here")


def test_a_missing_key_is_named_with_its_path():
    raw = json.loads(GOLDEN.read_text())
    del raw["subject"]["format"]
    with pytest.raises(UsageError, match=r"subject\.format: missing key"):
        Measurement.from_json(json.dumps(raw), source="here")


def test_another_schema_version_is_refused_by_number():
    with pytest.raises(UsageError, match=r"here has schema version 2, but .* reads 1 \(Measurement\)"):
        Measurement.from_json(changed(schema_version=2), source="here")


def test_text_in_place_of_a_number_is_not_coerced():
    with pytest.raises(UsageError, match=r"batch: .*found '1'"):
        Measurement.from_json(changed(batch="1"), source="here")


def test_a_journal_keeps_every_row_in_order(tmp_path, make_measurement):
    rows = (make_measurement("one"), make_measurement("two"))
    for row in rows:
        append(tmp_path / "new" / "journal.jsonl", row)
    journal = read_journal(tmp_path / "new" / "journal.jsonl")
    assert journal.measurements == rows
    assert journal.cut_lines == ()


@pytest.mark.parametrize("keep", [1, 200, -1])
def test_a_line_cut_by_a_crash_is_named_and_costs_no_other_row(tmp_path, make_measurement, keep: int):
    path = tmp_path / "journal.jsonl"
    append(path, make_measurement("one"))
    with path.open("a") as file:
        file.write(make_measurement("lost").to_json(indent=None)[:keep])
    cut = read_journal(path)
    append(path, make_measurement("two"))
    later = read_journal(path)
    assert [row.subject.name for row in cut.measurements] == ["one"]
    assert [row.subject.name for row in later.measurements] == ["one", "two"]
    assert cut.cut_lines == later.cut_lines == (2,)


def test_a_whole_line_that_is_no_measurement_is_an_error_that_names_the_line(tmp_path, make_measurement):
    path = tmp_path / "journal.jsonl"
    append(path, make_measurement("one"))
    with path.open("a") as file:
        file.write(json.dumps({"schema_version": 1}) + "\n")
    with pytest.raises(UsageError, match=r"journal\.jsonl line 2 is not a valid Measurement"):
        read_journal(path)


def test_a_missing_journal_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(UsageError, match="python -m bench"):
        read_journal(tmp_path / "none.jsonl")
