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
    with pytest.raises(UsageError, match=r"here has schema version 7, but .* reads 6 \(Measurement\)"):
        Measurement.from_json(changed(schema_version=7), source="here")


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
        file.write(json.dumps({"schema_version": 2}) + "\n")
    with pytest.raises(UsageError, match=r"journal\.jsonl line 2 is not a valid Measurement"):
        read_journal(path)


def test_a_missing_journal_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(UsageError, match="python -m bench"):
        read_journal(tmp_path / "none.jsonl")


def test_samples_that_no_launch_accounts_for_are_refused():
    with pytest.raises(UsageError, match=r"the launches have 3 samples, the row has 2"):
        Measurement.from_json(changed(samples_ms=[1.0, 2.0]), source="here")


def test_a_launch_whose_bursts_do_not_account_for_its_samples_is_refused():
    launches = json.loads(GOLDEN.read_text())["launches"]
    launches[0]["burst_counts"] = [7]
    with pytest.raises(UsageError, match=rf"the bursts have 7 samples, the launch has {launches[0]['sample_count']}"):
        Measurement.from_json(changed(launches=launches), source="here")


def test_samples_are_given_by_launch(make_measurement):
    row = make_measurement(samples_ms=(1.0, 2.0, 3.0, 4.0), launch_counts=(1, 3))
    assert row.samples_by_launch == ((1.0,), (2.0, 3.0, 4.0))


def test_a_journal_of_version_1_is_read_and_what_it_did_not_record_is_unknown(tmp_path):
    old = json.loads((GOLDEN.parent / "measurement-1.json").read_text())
    several = {**old, "launch_counts": [1, 2]}
    failed = {**old, "samples_ms": [], "validity": "failed"}
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (old, several, failed)))
    one, two, none = read_journal(path).measurements
    assert (one.launch_counts, two.launch_counts, none.launch_counts) == ((3,), (1, 2), ())
    assert one.samples_ms == tuple(old["samples_ms"])
    assert (one.launches[0].warmup_count, one.launches[0].steady) == (old["warmup_count"], None)
    assert (one.seed, one.subject.macs, one.conditions.busy_share_before, one.measured_images) == (None, None, None, 0)


def test_a_launch_of_version_2_is_one_that_was_taken_in_one_go(tmp_path):
    old = json.loads((GOLDEN.parent / "measurement-2.json").read_text())
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(old) + "\n")
    (row,) = read_journal(path).measurements
    assert row.samples_ms == tuple(old["samples_ms"])
    assert {(launch.burst_counts, launch.together) for launch in row.launches} == {((), None)}


def test_of_a_row_of_version_3_it_is_not_known_which_images_were_answered_rightly(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(json.loads((GOLDEN.parent / "measurement-3.json").read_text())) + "\n")
    (row,) = read_journal(path).measurements
    assert row.subject.answers is None
    unknown = {"subject": row.subject, "answered": None, "path": None, "repeated": None}
    assert row == Measurement.read(GOLDEN).model_copy(update=unknown)


def test_a_row_of_version_4_knows_nothing_of_answers_paths_and_repeats(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(json.loads((GOLDEN.parent / "measurement-4.json").read_text())) + "\n")
    (row,) = read_journal(path).measurements
    assert (row.answered, row.path, row.repeated) == (None, None, None)
    assert row.subject == Measurement.read(GOLDEN).subject


def test_a_row_of_version_5_classifies_and_a_newer_one_says_what_its_measure_is(make_measurement):
    old = (GOLDEN.parent / "measurement-5.json").read_text()
    assert Measurement.from_json(old, source="here") == Measurement.read(GOLDEN)
    titles = {task: make_measurement(task=task).subject.measure.title for task in ("segmentation", "depth")}
    assert titles == {"segmentation": "mIoU", "depth": "δ < 1.25"}


def test_stages_that_do_not_have_as_many_samples_as_the_launches_are_refused():
    path = json.loads(GOLDEN.read_text())["path"]
    with pytest.raises(UsageError, match="the launches have 2 samples, the stages"):
        Measurement.from_json(changed(path={**path, "call_ms": [1.0]}), source="here")


def test_outputs_of_one_input_that_differ_are_told():
    row = Measurement.read(GOLDEN)
    assert row.repeated is not None
    assert row.repeated.differs is None
    (first,) = row.repeated.outputs
    other = first.model_copy(update={"sha256": "0" * 64, "calls": 3, "max_abs_difference": 0.25})
    differing = row.repeated.model_copy(update={"calls": 203, "outputs": (first, other)})
    assert differing.differs == (
        "one input gave 2 different outputs in 203 calls of 2 launches (3 calls unlike the most frequent one, by up to "
        "0.25)"
    )
