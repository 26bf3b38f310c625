import pytest
from rich.console import Console

from bench.compare import speed_up
from bench.compare.speed_up import Row, compare
from bench.report.table import base_note, doubt_note, measured_table

TEACHER = "checkpoint of teacher"


def by_name(rows: list[Row], name: str, format_name: str = "onnx") -> Row:
    return next(row for row in rows if row.name == name and row.measurement.subject.format == format_name)


@pytest.fixture
def teacher(make_measurement):
    return make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.95, size_bytes=48_000_000)


@pytest.fixture
def student(make_measurement):
    return make_measurement("student", teacher_sha256=TEACHER, samples_ms=(2.0,), accuracy=0.93)


def factor(row: Row) -> float | None:
    return row.speed_up and row.speed_up.value


def test_a_student_is_held_against_its_teacher_in_eager(teacher, student):
    rows = compare([student, teacher])
    row = by_name(rows, "student")
    assert (row.base_kind, row.base_name, factor(row)) == ("teacher", "teacher", 15.0)
    assert row.relative_accuracy == pytest.approx(0.93 / 0.95)
    assert row.relative_size == pytest.approx(6 / 48)
    assert (row.role, by_name(rows, "teacher", "eager").role) == ("student", "teacher")


def test_the_teacher_in_another_format_is_held_against_itself_in_eager(teacher, student, make_measurement):
    exported = make_measurement("teacher", format="onnx", samples_ms=(10.0,))
    row = by_name(compare([student, teacher, exported]), "teacher", "onnx")
    assert (row.role, row.base_kind, factor(row)) == ("teacher", "teacher", 3.0)


def test_a_student_from_scratch_is_held_against_the_only_teacher(teacher, student, make_measurement):
    scratch = make_measurement("scratch", samples_ms=(5.0,))
    assert factor(by_name(compare([teacher, student, scratch]), "scratch")) == 6.0


def test_a_student_from_scratch_beside_two_teachers_is_held_against_neither_as_its_teacher(
    teacher, student, make_measurement
):
    other = make_measurement("other", format="eager", samples_ms=(60.0,))
    pupil = make_measurement("pupil", teacher_sha256="checkpoint of other")
    scratch = make_measurement("scratch", samples_ms=(5.0,))
    row = by_name(compare([teacher, student, other, pupil, scratch]), "scratch")
    assert (row.base_kind, row.base_name, factor(row)) == ("slowest-eager", "other", 12.0)


def test_without_the_teacher_the_slowest_eager_row_serves_and_is_named(student, make_measurement):
    slow = make_measurement("slow", format="eager", samples_ms=(8.0,))
    fast = make_measurement("fast", format="eager", samples_ms=(4.0,))
    rows = compare([student, slow, fast])
    row = by_name(rows, "student")
    assert (row.base_kind, row.base_name, factor(row)) == ("slowest-eager", "slow", 4.0)
    assert "no teacher was measured, so against the slowest row in eager PyTorch, slow" in base_note(rows)


def test_without_any_eager_row_there_is_no_speed_up(student):
    rows = compare([student])
    assert (rows[0].base_kind, factor(rows[0]), rows[0].relative_accuracy) == (None, None, None)
    assert base_note(rows).startswith("no speed-up")


def test_disturbed_rows_are_counted_with_what_helps(teacher, student, make_measurement):
    assert doubt_note(compare([teacher, student])) is None
    noisy = make_measurement("noisy", validity="noisy", reason="spread")
    alone = doubt_note(compare([teacher, student, noisy]))
    assert alone is not None
    assert alone.startswith("1 of 3 rows were disturbed")
    assert ("in turn" in alone, "--launches" in alone) == (False, True)
    launches = tuple(launch.model_copy(update={"together": "first"}) for launch in noisy.launches)
    assert "in turn" in (doubt_note(compare([noisy.model_copy(update={"launches": launches})])) or "")


@pytest.mark.parametrize("unlike", [{"batch": 8}, {"threads": 2}])
def test_a_base_under_other_conditions_is_no_base(teacher, make_measurement, unlike):
    student = make_measurement("student", teacher_sha256=TEACHER, **unlike)
    assert factor(by_name(compare([teacher, student]), "student")) is None


def test_a_kernel_update_between_teacher_and_student_costs_no_speed_up(teacher, student):
    updated = student.device.model_copy(update={"os": "Linux 7.1.0-next", "memory_bytes": 2**30})
    rows = compare([teacher, student.model_copy(update={"device": updated, "run_id": "after the update"})])
    assert [factor(row) for row in rows] == [1.0, 15.0]
    assert by_name(rows, "student").base_in_same_run is False


def test_emulated_rows_are_shown_labelled_and_never_ranked(teacher, student, make_measurement):
    device = student.device.model_copy(update={"emulated": True})
    base = make_measurement("teacher", format="eager", samples_ms=(900.0,), device=device)
    pupil = make_measurement("student", teacher_sha256=TEACHER, samples_ms=(0.5,), device=device)
    rows = compare([teacher, student, base, pupil])
    real = [row for row in rows if not row.measurement.device.emulated]
    emulated = [row for row in rows if row.measurement.device.emulated]
    assert [factor(row) for row in real] == [1.0, 15.0]
    assert [(factor(row), row.base_kind, row.relative_accuracy) for row in emulated] == [(None, None, None)] * 2
    names = list(measured_table(rows, wide=True).columns[0].cells)
    assert [str(name).endswith("(emulated)") for name in names] == [False, False, True, True]
    assert "not ranked" in base_note(emulated)


def test_rows_with_clocks_held_are_not_compared_with_free_ones(teacher, student):
    held = student.conditions.model_copy(update={"fixed_performance": True})
    rows = compare([teacher, student, student.model_copy(update={"conditions": held})])
    assert [factor(row) for row in rows] == [1.0, 15.0, None]


def test_the_newest_measurement_of_a_cell_is_shown_even_if_it_failed(teacher, student, make_measurement):
    failed = make_measurement("student", teacher_sha256=TEACHER, samples_ms=(), validity="failed", reason="it crashed")
    rows = compare([teacher, student, failed])
    assert len(rows) == 2
    assert (by_name(rows, "student").summary, by_name(rows, "student").speed_up) == (None, None)


def test_a_failed_teacher_is_no_base(student, make_measurement):
    failed = make_measurement("teacher", format="eager", samples_ms=(), validity="failed")
    assert by_name(compare([failed, student]), "student").base_kind is None


def test_a_base_of_another_session_is_marked(teacher, make_measurement):
    student = make_measurement("student", teacher_sha256=TEACHER, run_id="later")
    assert by_name(compare([teacher, student]), "student").base_in_same_run is False


def test_two_checkpoints_of_one_name_are_told_apart(make_measurement):
    one = make_measurement("net", checkpoint_sha256="1" * 64, manifest_sha256="a")
    two = make_measurement("net", checkpoint_sha256="2" * 64, manifest_sha256="b")
    assert [row.name for row in compare([one, two])] == ["net (111111)", "net (222222)"]


def test_a_narrow_terminal_gets_fewer_columns_and_shared_conditions_stand_in_the_title(teacher, student):
    rows = compare([teacher, student])
    wide, narrow = measured_table(rows, wide=True), measured_table(rows, wide=False)
    heads = [str(column.header) for column in wide.columns]
    assert {"p10", "load ms", "speed-up"} <= set(heads)
    assert "p10" not in [str(column.header) for column in narrow.columns]
    assert Console(width=500).measure(narrow).minimum <= 80
    assert wide.title == "Latency per call, batch 1, threads 1"
    assert "batch" not in heads


def test_no_row_is_summarized_again_for_every_other(make_measurement, monkeypatch):
    """What a page of thousands of rows takes must not grow with their square."""
    asked: list[tuple[float, ...]] = []
    plain = speed_up.summarize
    monkeypatch.setattr(speed_up, "summarize", lambda samples: asked.append(samples) or plain(samples))
    rows = [make_measurement(f"student {number}", format=kind) for number in range(20) for kind in ("eager", "onnx")]
    assert {row.base_kind for row in compare(rows)} == {"slowest-eager"}
    assert len(asked) <= 2 * len(rows)
