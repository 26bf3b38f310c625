import pytest

from bench.compare.history import series_of, sparkline


def times(*days):
    return [f"2026-01-{day:02d}T00:00:00+00:00" for day in days]


def launches(scale):
    samples = tuple(scale * (1 + 0.001 * (turn % 7)) for turn in range(60))
    return {"samples_ms": samples, "launch_counts": (20, 20, 20)}


def test_a_series_goes_by_time_with_ratios_to_its_first_and_its_previous_row(make_measurement):
    third, first, second = times(3, 1, 2)
    rows = [
        make_measurement(utc_time=third, **launches(1.0)),
        make_measurement(utc_time=first, **launches(2.0)),
        make_measurement(utc_time=second, **launches(4.0)),
    ]
    (series,) = series_of(rows)
    assert [moment.row.utc_time for moment in series.moments] == [first, second, third]
    assert series.moments[0].to_first is None
    assert [round(moment.to_first.value, 3) for moment in series.moments[1:]] == [2.0, 0.5]
    assert [round(moment.to_previous.value, 3) for moment in series.moments[1:]] == [2.0, 0.25]
    assert [moment.to_previous.verdict for moment in series.moments[1:]] == ["slower", "faster"]


def test_a_failed_row_has_its_place_and_the_ratios_reach_over_it(make_measurement):
    one, two, three = times(1, 2, 3)
    failed = make_measurement(utc_time=two, samples_ms=(), validity="failed", reason="it crashed", runtime=None)
    rows = [make_measurement(utc_time=one, **launches(2.0)), failed, make_measurement(utc_time=three, **launches(2.0))]
    (series,) = series_of(rows)
    before, broken, after = series.moments
    assert (broken.median, broken.note) == (None, "it crashed")
    assert after.to_previous.value == pytest.approx(1)
    assert sparkline([before.median.value, None, after.median.value]) == "▁·▁"


def test_other_conditions_are_another_series(make_measurement):
    row = make_measurement(**launches(1.0))
    phone = row.device.model_copy(update={"serial": "R5"})
    rows = [row, make_measurement(batch=8, **launches(1.0)), row.model_copy(update={"device": phone})]
    assert len(series_of(rows)) == 3


def test_a_new_export_or_runtime_goes_on_and_is_noted(make_measurement):
    one, two, three, four = times(1, 2, 3, 4)
    base = {"checkpoint_sha256": "c", **launches(1.0)}
    rows = [
        make_measurement(utc_time=one, manifest_sha256="a", **base),
        make_measurement(utc_time=two, manifest_sha256="b", runtime_version="2.0", **base),
        make_measurement(utc_time=three, manifest_sha256="c", **{**base, "checkpoint_sha256": "d"}),
        make_measurement(utc_time=four, manifest_sha256="c", accelerator_active="xnnpack", **base),
    ]
    (series,) = series_of(rows)
    notes = [moment.note for moment in series.moments]
    assert notes[0] == ""
    assert "onnxruntime 2.0, was 1.31.1" in notes[1]
    assert "exported again" in notes[1]
    assert "another checkpoint" in notes[2]
    assert "unlike: accelerator active none, now xnnpack" in notes[3]
    assert series.moments[3].to_previous is None


def test_emulated_rows_have_a_course_and_no_ratios(make_measurement):
    row = make_measurement(**launches(1.0))
    emulated = row.model_copy(update={"device": row.device.model_copy(update={"emulated": True})})
    (series,) = series_of([emulated, emulated])
    assert [moment.to_first for moment in series.moments] == [None, None]
    assert all(moment.median for moment in series.moments)


def test_a_sparkline_rises_with_the_latency():
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([None, None]) == "··"
    assert sparkline([]) == ""
