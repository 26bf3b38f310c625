"""What counts as latency: the whole path, the steady state, the worst of several phones."""

import numpy as np
import pytest

from bench.compare.choice import Budget, choose
from bench.compare.counted import COLD, NO_PATH, latency_that_counts, steady_state, with_samples_that_count
from bench.compare.fleet import phones_of, worst_of
from bench.record import Measurement
from bench.record.whole_path import STAGES, WholePath

RNG = np.random.default_rng(11)


def around(ms: float, count: int = 200) -> tuple[float, ...]:
    return tuple((ms * (1 + 0.01 * RNG.normal(size=count))).tolist())


@pytest.fixture
def make_row(make_measurement):
    """make_row(name, latency_ms, phone, path_ms=None, **fields): a valid row of three launches on a phone."""

    def make(name: str, ms: float, phone: str = "one", *, path_ms: float | None = None, **fields) -> Measurement:
        samples = fields.pop("samples_ms", around(ms, 600))
        counts = fields.pop("launch_counts", (200, 200, 200))
        row = make_measurement(name, samples_ms=samples, launch_counts=counts, **fields)
        device = row.device.model_copy(
            update={"kind": "android", "name": "Phone", "serial": phone, "instrument": "app"}
        )
        path = None
        if path_ms is not None:
            stages = {stage: around(path_ms / 5, 600) for stage in STAGES}
            path = WholePath(
                pictures="8 pictures",
                pictures_sha256="p" * 64,
                launch_counts=(200, 200, 200),
                total_ms=around(path_ms, 600),
                **stages,
            )
        return row.model_copy(update={"device": device, "path": path})

    return make


def winner_of(rows, budget=None, **how) -> str | None:
    choice = choose(rows, budget or Budget(max_latency_ms=1000), **how)
    return choice.winner.row.subject.name if choice.winner else None


def test_the_whole_path_reverses_a_choice_by_the_models_call(make_row):
    """A small network that wants large pictures: a fast call, and a slow way to it."""
    rows = [make_row("small", 1.0, path_ms=30.0), make_row("large", 4.0, path_ms=12.0)]
    assert latency_that_counts(rows, None) == "pipeline"
    assert winner_of(with_samples_that_count(rows, "model", sustained=False)[0]) == "small"
    assert winner_of(with_samples_that_count(rows, "pipeline", sustained=False)[0]) == "large"


def test_on_this_machine_and_without_any_path_the_models_call_counts(make_measurement, make_row):
    assert latency_that_counts([make_measurement()], None) == "model"
    assert latency_that_counts([make_row("one", 1.0)], None) == "model"
    assert latency_that_counts([make_measurement()], "pipeline") == "pipeline"


def test_a_row_without_the_path_is_left_out_with_the_reason_unless_another_of_it_has_one(make_row):
    old, new, other = make_row("a", 1.0), make_row("a", 1.0, path_ms=9.0), make_row("b", 1.0)
    kept, left_out = with_samples_that_count([old, new, other], "pipeline", sustained=False)
    assert [row.subject.name for row in kept] == ["a"]
    assert [(each.row.subject.name, each.reason) for each in left_out] == [("b", NO_PATH)]


def throttling(cold_ms: float, warm_ms: float, minutes: int) -> tuple[float, ...]:
    """A run that is fast for two minutes and slow from then on."""
    samples: list[float] = []
    while sum(samples) < minutes * 60_000:
        samples += around(cold_ms if sum(samples) < 120_000 else warm_ms, 50)
    return tuple(samples)


def test_the_steady_state_reverses_a_cold_choice(make_row):
    """Synthetic throttling: the faster one slows down to three times its time, the other stays as it is."""
    sprinter, runner = throttling(100.0, 300.0, 8), throttling(150.0, 160.0, 8)
    cold = [make_row("sprinter", 100.0), make_row("runner", 150.0)]
    warm = [
        make_row(name, 0, samples_ms=samples, launch_counts=(len(samples),), validity="throttled", reason="heat")
        for name, samples in (("sprinter", sprinter), ("runner", runner))
    ]
    assert winner_of(with_samples_that_count(cold, "model", sustained=False)[0]) == "sprinter"
    steady, left_out = with_samples_that_count([*cold, *warm], "model", sustained=True)
    assert left_out == []
    assert winner_of(steady) == "runner"
    by_name = {row.subject.name: row for row in steady}
    assert np.median(by_name["sprinter"].samples_ms) == pytest.approx(300, rel=0.02)
    assert sum(by_name["sprinter"].samples_ms) == pytest.approx(120_000, rel=0.3)
    # The upper end counts: one launch does not know what another would show.
    tight = Budget(max_latency_ms=165)
    assert winner_of(steady, tight) is None


def test_rows_without_a_sustained_run_are_said_to_be_cold(make_row):
    samples = throttling(100.0, 100.0, 2)
    rows = [
        make_row("a", 100.0),
        make_row("b", 0, samples_ms=samples, launch_counts=(len(samples),)),
        make_row("short", 0, samples_ms=around(100.0, 500), launch_counts=(500,)),
    ]
    kept, left_out = with_samples_that_count(rows, "model", sustained=True)
    assert [row.subject.name for row in kept] == ["b"]
    assert {(each.row.subject.name, each.reason) for each in left_out} == {("a", COLD), ("short", COLD)}
    assert steady_state(rows[0]) is None


def test_of_several_phones_the_model_wins_whose_worst_phone_is_best(make_row):
    """Two phones whose rankings are opposite, and a model that is second on both."""
    ms = {"fast here": (1.0, 9.0), "fast there": (8.0, 1.0), "even": (2.0, 2.5)}
    rows = [make_row(name, on, phone) for name, times in ms.items() for phone, on in zip("xy", times, strict=True)]
    phones = phones_of(rows)
    assert list(phones) == ["Phone app x", "Phone app y"]
    worst, lacking = worst_of(phones)
    assert lacking == []
    assert winner_of(worst) == "even"
    assert [winner_of(group) for group in phones.values()] == ["fast here", "fast there"]
    assert winner_of(worst, Budget(max_latency_ms=2.2)) is None


def test_a_model_that_one_phone_was_not_asked_about_is_named_and_no_candidate(make_row):
    rows = [make_row("both", 5.0, "x"), make_row("both", 5.0, "y"), make_row("one", 1.0, "x")]
    worst, lacking = worst_of(phones_of(rows))
    assert winner_of(worst) == "both"
    assert [(each.row.subject.name, each.reason) for each in lacking] == [("one", "not measured on Phone app y")]


def test_what_answers_wrongly_on_one_phone_is_chosen_for_none(make_row):
    rows = [make_row("quick", 1.0, "x"), make_row("quick", 1.0, "y", validity="wrong", reason="colours")]
    rows += [make_row("good", 5.0, phone) for phone in "xy"]
    worst, _ = worst_of(phones_of(rows))
    assert winner_of(worst) == "good"


def test_accuracy_and_memory_are_those_of_the_phone_where_they_are_worst(make_row):
    rows = [
        make_row("a", 2.0, "x", peak_memory_bytes=10, measured_accuracy=0.8, measured_images=2000),
        make_row("a", 1.0, "y", peak_memory_bytes=30, measured_accuracy=0.7, measured_images=2000),
    ]
    (row,), _ = worst_of(phones_of(rows))
    assert (row.device.serial, row.peak_memory_bytes, row.measured_accuracy) == ("x", 30, 0.7)
