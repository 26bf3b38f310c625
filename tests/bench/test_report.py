import pytest

from bench.report import headline, page_content, period, render, write_report
from bench.rows import compare
from distill.errors import UsageError

TEACHER = {"teacher_sha256": "checkpoint of teacher"}


@pytest.fixture
def measurements(make_measurement):
    return [
        make_measurement("teacher", format="eager", samples_ms=(30.0,), accuracy=0.90, size_bytes=45_000_000),
        make_measurement("good", samples_ms=(2.0,), accuracy=0.89, **TEACHER),
        make_measurement("fast", samples_ms=(1.0,), accuracy=0.80, **TEACHER),
    ]


def test_the_title_is_the_fastest_student_that_keeps_the_goal(measurements):
    assert headline(compare(measurements)) == (
        "good as onnx fp32 is 15.0 × faster than the teacher and keeps 98.9 % of its accuracy"
    )


def test_without_a_teacher_the_page_says_so_and_names_the_base(measurements):
    page = render([measurements[1]])
    assert "No teacher was measured in eager PyTorch" in page
    assert "There is no eager row at all" in page
    assert "1 measurement on Test CPU" in page


def test_a_teacher_whose_goal_nobody_reaches_is_told(measurements):
    assert "No student measured here keeps 98&nbsp;%" in render([measurements[0], measurements[2]])


def test_older_measurements_of_a_cell_are_counted_and_not_shown(measurements):
    content = page_content([*measurements, measurements[1]])
    assert (content["superseded"], len(content["rows"])) == (1, 3)


def test_a_failed_row_is_in_the_table_with_its_reason(measurements, make_measurement):
    failed = make_measurement("bad", samples_ms=(), validity="failed", reason="ended by SIGSEGV", **TEACHER)
    content = page_content([*measurements, failed])
    assert content["rows"][-1].name == "bad"
    assert [record["reason"] for record in content["doubtful"]] == ["ended by SIGSEGV"]
    assert "ended by SIGSEGV" in render([*measurements, failed])


def test_names_and_reasons_cannot_inject_markup(make_measurement):
    hostile = "</script><img src=x onerror=alert(1)>"
    page = render([make_measurement(hostile, validity="noisy", reason=hostile)])
    assert hostile not in page


def test_the_period_names_one_day_once(make_measurement):
    times = ("2026-11-21T08:03:00+00:00", "2026-11-21T09:00:00+00:00", "2026-11-22T00:00:00+00:00")
    one, two, three = (make_measurement(utc_time=time) for time in times)
    assert period([two, one]) == "21 November 2026, 08:03 to 09:00 UTC"
    assert period([one, three]) == "21 November 2026, 08:03 to 22 November 2026, 00:00 UTC"


def test_no_measurement_is_an_error_that_names_the_command(tmp_path):
    with pytest.raises(UsageError, match="python -m bench"):
        write_report([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
