import math
from dataclasses import replace

import numpy as np
import pytest

from bench.compare.matching import Comparison, Pair, compare_rows, p_value, standing_out
from bench.timing.intervals import Interval
from tests.bench.synthetic import launches_of

COUNTS = (60, 60, 60, 60, 60)


@pytest.fixture
def make_row(make_measurement):
    """make_row(name, seed=…, scale=…, between=…, **fields): a row of five launches like real ones."""

    def make(name="net", *, seed=0, scale=2.0, between=0.01, launches=5, **fields):
        rng = np.random.default_rng(seed)
        samples = launches_of(rng, launches, 60, between=between, spread=0.02, correlation=0.5, scale=scale)
        values = tuple(float(value) for value in samples.ravel())
        return make_measurement(name, samples_ms=values, launch_counts=COUNTS[:launches], **fields)

    return make


def reasons(found: Comparison) -> list[str]:
    return [one.reason for one in found.not_compared]


def test_a_slower_artifact_is_slower_and_a_faster_one_faster(make_row):
    found = compare_rows(
        [make_row("a", seed=1), make_row("b", seed=2)],
        [make_row("a", seed=3, scale=2.3), make_row("b", seed=4, scale=1.7)],
    )
    assert [pair.verdict for pair in found.pairs] == ["slower", "faster"]
    assert found.overall == "some faster, some slower"
    assert found.pairs[0].ratio.value == pytest.approx(1.15, rel=0.03)


def test_the_same_artifact_measured_twice_is_seldom_called_different(make_row):
    different = sum(
        compare_rows([make_row(seed=2 * turn)], [make_row(seed=2 * turn + 1)]).overall != "no difference shown"
        for turn in range(60)
    )
    assert different <= 7


def test_many_pairs_without_a_difference_are_seldom_called_different_together(make_row):
    def of_seed(seed):
        return [make_row(f"net{number}", seed=1000 * seed + number) for number in range(12)]

    different = sum(
        compare_rows(of_seed(2 * turn), of_seed(2 * turn + 1)).overall != "no difference shown" for turn in range(12)
    )
    assert different <= 2


def test_the_p_value_crosses_one_twentieth_where_the_interval_crosses_1():
    for value in (1.02, 1.2):
        for freedom in (2, 8, math.inf):
            touching = Interval(value, 1.0, value**2, knows_launches=True, freedom=freedom)
            assert p_value(touching) == pytest.approx(0.05)
            clear = Interval(value, 1.001, value**2 / 1.001, knows_launches=True, freedom=freedom)
            assert p_value(clear) < 0.05


def test_p_values_are_students_for_the_launches_that_stand_behind_them():
    # |t| = 6.1 at 8 degrees of freedom has p = 0.000288 (scipy.stats.t.sf(6.1, 8) * 2); few launches say less.
    end = 2.306
    eight = Interval(math.exp(6.1), math.exp(6.1 - end), math.exp(6.1 + end), knows_launches=True, freedom=8)
    assert p_value(eight) == pytest.approx(0.000288, rel=0.1)
    assert p_value(replace(eight, freedom=2)) > 10 * p_value(eight)


def test_identical_samples_without_any_spread_do_not_differ(make_measurement):
    base = make_measurement(samples_ms=(2.0,) * 40, launch_counts=(20, 20))
    found = compare_rows([base], [base])
    assert (found.overall, found.pairs[0].p_value) == ("no difference shown", 1.0)
    slower = make_measurement(samples_ms=(3.0,) * 40, launch_counts=(20, 20))
    assert compare_rows([base], [slower]).overall == "slower"


def test_of_many_tests_only_those_stand_out_that_benjamini_and_hochberg_let_pass():
    # Their own example (1995, section 3.2): the four smallest of fifteen pass at 5 %.
    p_values = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    assert standing_out(p_values) == [True] * 4 + [False] * 11
    assert standing_out([0.049]) == [True]
    assert standing_out([0.049, 0.9]) == [False, False]
    assert standing_out([]) == []


def test_a_pair_is_beyond_the_limit_only_if_its_whole_interval_is(make_row):
    def pair(low, value, high, verdict):
        return Pair(make_row(), make_row(), Interval(value, low, high, knows_launches=True, freedom=8), 0.01, verdict)

    assert pair(1.06, 1.08, 1.10, "slower").against(0.05) == "beyond"
    assert pair(1.03, 1.08, 1.13, "slower").against(0.05) == "undecided"
    assert pair(1.06, 1.08, 1.10, "no difference shown").against(0.05) == "undecided"
    assert pair(1.01, 1.02, 1.03, "slower").against(0.05) == "within"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 8}, "batch: 1 in A, 8 in B"),
        ({"threads": 2}, "threads: 1 in A, 2 in B"),
        ({"runtime": "litert"}, "runtime: onnxruntime in A, litert in B"),
        ({"accelerator_active": "xnnpack"}, "accelerator active: none in A, xnnpack in B"),
        ({"threads_active": 2}, "threads active: 1 in A, 2 in B"),
    ],
)
def test_unlike_conditions_are_refused_and_named_with_both_values(make_row, change, words):
    found = compare_rows([make_row()], [make_row(**change)])
    assert found.pairs == ()
    assert reasons(found) == [f"unlike conditions: {words}"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Other CPU"}, "device: Test CPU in A, Other CPU in B"),
        ({"cores": 8}, "cores: 2 in A, 8 in B"),
        ({"serial": "R5"}, "phone: none in A, R5 in B"),
        ({"instrument": "native"}, "instrument: none in A, native in B"),
        ({"emulated": True}, "emulated: no in A, yes in B"),
    ],
)
def test_rows_of_unlike_devices_are_refused_and_named(make_row, change, words):
    base, new = make_row(), make_row()
    other = new.model_copy(update={"device": new.device.model_copy(update=change)})
    assert reasons(compare_rows([base], [other])) == [f"unlike conditions: {words}"]


def test_rows_with_clocks_held_are_not_compared_with_free_ones(make_row):
    row = make_row()
    held = row.model_copy(update={"conditions": row.conditions.model_copy(update={"fixed_performance": True})})
    assert reasons(compare_rows([row], [held])) == ["unlike conditions: clocks held: no in A, yes in B"]


def test_what_a_comparison_is_for_may_differ(make_row):
    base = make_row()
    device = base.device.model_copy(update={"os": "Test OS 2", "memory_bytes": 2**32})
    new = make_row(runtime_version="2.0", toolkit_version="9", manifest_sha256="exported again", device=device)
    assert len(compare_rows([base], [new]).pairs) == 1


def test_noisy_rows_are_compared_and_failed_ones_named(make_row, make_measurement):
    failed = make_measurement("broken", samples_ms=(), validity="failed", reason="it crashed", runtime=None)
    found = compare_rows([make_row(), make_row("broken")], [make_row(validity="noisy"), failed])
    assert [pair.new.validity for pair in found.pairs] == ["noisy"]
    assert reasons(found) == ["failed in B: it crashed"]


def test_emulated_rows_are_never_ranked(make_row):
    row = make_row()
    emulated = row.model_copy(update={"device": row.device.model_copy(update={"emulated": True})})
    found = compare_rows([emulated], [emulated])
    why = "emulated device: its times say nothing of any product"
    assert (found.pairs, reasons(found)) == ((), [f"{why} in A; {why} in B"])


def test_what_stands_on_one_side_only_is_named(make_row):
    found = compare_rows([make_row("a"), make_row("b")], [make_row("b"), make_row("c")])
    assert [(one.what, one.reason) for one in found.not_compared] == [
        ("a onnx fp32, batch 1, 1 thread", "only in A"),
        ("c onnx fp32, batch 1, 1 thread", "only in B"),
    ]


def test_a_batch_without_a_partner_is_named_beside_the_pair_that_has_one(make_row):
    base = [make_row(), make_row(batch=8, manifest_sha256="batch 8")]
    found = compare_rows(base, [make_row()])
    assert len(found.pairs) == 1
    assert reasons(found) == ["unlike conditions: batch: 8 in A, 1 in B"]
    found = compare_rows([make_row()], base)
    assert reasons(found) == ["unlike conditions: batch: 8 in B, 1 in A"]


def test_two_seeds_of_one_name_are_told_apart_by_checkpoint_and_otherwise_refused(make_row):
    def seeds(prefix, checkpoints):
        return [
            make_row(manifest_sha256=f"{prefix}{number}", checkpoint_sha256=checkpoint)
            for number, checkpoint in enumerate(checkpoints)
        ]

    found = compare_rows(seeds("old", ["c1", "c2"]), seeds("new", ["c2", "c1"]))
    assert [(pair.base.subject.checkpoint_sha256, pair.new.subject.checkpoint_sha256) for pair in found.pairs] == [
        ("c1", "c1"),
        ("c2", "c2"),
    ]
    found = compare_rows(seeds("old", ["c1", "c2"]), seeds("new", ["c3", "c4"]))
    assert found.pairs == ()
    assert all("several artifacts have this name" in reason for reason in reasons(found))


def test_of_one_artifact_measured_twice_on_a_side_the_newest_counts(make_row):
    found = compare_rows([make_row(scale=9.0), make_row(seed=1)], [make_row(seed=2)])
    (pair,) = found.pairs
    assert pair.ratio.value == pytest.approx(1, rel=0.05)


def test_the_newest_is_so_by_its_time_wherever_it_stands(make_row):
    old = make_row(scale=9.0).model_copy(update={"utc_time": "2026-01-01T10:00:00+00:00"})
    new = make_row(seed=1).model_copy(update={"utc_time": "2026-01-01T10:30:00+01:00"})  # half an hour before
    newer = make_row(seed=1).model_copy(update={"utc_time": "2026-01-01T12:30:00+01:00"})
    found = compare_rows([newer, old, new], [make_row(seed=2)])
    (pair,) = found.pairs
    assert pair.ratio.value == pytest.approx(1, rel=0.05)
