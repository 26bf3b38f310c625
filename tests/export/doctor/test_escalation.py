"""Where the ladder ends, by measurements that are made up; real ones are in test_doctor.py."""

from collections.abc import Callable

import pytest

from export.doctor.escalation import SWEEP, best_of, cheapest, escalate, fewest, most_trials
from export.doctor.record import Speed, Trial
from export.doctor.speed import median_interval
from export.quantize.recipe import QuantizationRecipe

BASE = QuantizationRecipe(float_operations=("hard-swish",))
LAYERS = tuple(f"network.layer{number}" for number in range(12))


def trial(recipe: QuantizationRecipe, agreement: float, *, ratio: float = 1.5, limit: float = 0.97) -> Trial:
    return Trial(
        recipe=recipe,
        quality=0.9,
        eager_quality=0.9,
        quality_kept=1.0,
        kept_interval=(0.99, 1.01),
        accuracy_interval=(-0.01, 0.01),
        top1_agreement=agreement,
        mean_abs_difference=1 - agreement,
        size_bytes=30,
        size_share=0.3,
        pieces=1,
        undelegated=0,
        speed=Speed(ratio=ratio, interval=(ratio - 0.1, ratio + 0.1), latency_ms=1.0, fp32_latency_ms=ratio),
        meets_limits=agreement >= limit,
        seconds=1.0,
    )


class Patient:
    """Answers by a rule, and remembers what it was asked."""

    def __init__(self, agreement: Callable[[QuantizationRecipe], float], ratio: float = 1.5) -> None:
        self.agreement, self.ratio = agreement, ratio
        self.asked: list[QuantizationRecipe] = []

    def measure(self, recipe: QuantizationRecipe) -> Trial:
        self.asked.append(recipe)
        return trial(recipe, self.agreement(recipe), ratio=self.ratio)

    def steps(self, *, every_step: bool = False) -> list[str]:
        return [step.name for step in self.climb(every_step=every_step)]

    def climb(self, *, every_step: bool = False):
        return list(escalate(BASE, LAYERS, self.measure, every_step=every_step))


def test_a_robust_network_needs_one_measurement() -> None:
    patient = Patient(lambda recipe: 0.99)
    assert patient.steps() == ["per-channel"]
    assert patient.asked == [BASE]


def test_every_step_runs_on_request_and_does_not_change_the_choice() -> None:
    patient = Patient(lambda recipe: 0.98 if recipe == BASE else 0.99)
    steps = patient.climb(every_step=True)
    assert [step.name for step in steps] == ["per-channel", "calibrators", "float-layers", "weight-corrections"]
    chosen = cheapest(steps)
    assert chosen is not None
    assert chosen.recipe == BASE


def test_the_sweep_ends_with_the_best_calibrator_and_keeps_what_the_format_needs() -> None:
    patient = Patient(lambda recipe: {"mse": 0.985, "percentile": 0.98}.get(recipe.calibrator, 0.9))
    steps = patient.climb()
    assert [step.name for step in steps] == ["per-channel", "calibrators"]
    assert len(patient.asked) == 1 + len(SWEEP)
    assert steps[1].chosen.recipe == QuantizationRecipe(calibrator="mse", float_operations=("hard-swish",))
    assert steps[1].trials.index(steps[1].chosen) == steps[1].best


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5, 6])
def test_as_few_layers_as_needed_stay_in_float_the_most_sensitive_first(needed: int) -> None:
    patient = Patient(lambda recipe: 0.99 if len(recipe.float_layers) >= needed else 0.9)
    steps = patient.climb()
    assert [step.name for step in steps] == ["per-channel", "calibrators", "float-layers"]
    assert steps[2].chosen.recipe.float_layers == LAYERS[:needed]


def test_a_min_max_that_beats_the_sweep_is_what_later_steps_build_on() -> None:
    patient = Patient(lambda recipe: 0.9 if recipe.calibrator == "min-max" else 0.5)
    steps = patient.climb()
    assert [step.name for step in steps][-1] == "weight-corrections"
    later = [recipe for step in steps[2:] for recipe in (each.recipe for each in step.trials)]
    assert {recipe.calibrator for recipe in later} == {"min-max"}
    assert max(len(recipe.float_layers) for recipe in later) == len(LAYERS) // 2


def test_corrections_are_the_last_resort_and_leave_every_layer_in_integers() -> None:
    patient = Patient(lambda recipe: 0.99 if recipe.equalise and recipe.correct_bias else 0.9)
    last = patient.climb()[-1]
    assert last.chosen.recipe.equalise
    assert last.chosen.recipe.correct_bias
    assert last.chosen.recipe.float_layers == ()


def test_nothing_is_chosen_where_nothing_is_good_enough() -> None:
    assert cheapest(Patient(lambda recipe: 0.9).climb()) is None


def test_a_good_scheme_that_is_not_faster_ends_the_climb_and_is_told_apart() -> None:
    patient = Patient(lambda recipe: 0.99, ratio=1.05)
    steps = patient.climb()
    assert len(steps) == 1
    chosen = cheapest(steps)
    assert chosen is not None
    assert chosen.meets_limits
    assert not chosen.solves


def test_the_faster_of_two_good_steps_is_preferred_to_the_earlier() -> None:
    patient = Patient(lambda recipe: 0.99)
    steps = patient.climb(every_step=True)
    slow = steps[0].model_copy(update={"trials": (trial(BASE, 0.99, ratio=0.9),)})
    chosen = cheapest([slow, *steps[1:]])
    assert chosen == steps[1].chosen


@pytest.mark.parametrize("most", range(1, 14))
def test_fewest_finds_the_smallest_number(most: int) -> None:
    for needed in range(1, most + 1):
        asked: list[int] = []
        assert fewest(lambda count, needed=needed, asked=asked: asked.append(count) or count >= needed, most) == needed
        assert len(asked) == len(set(asked)) <= 2 * most.bit_length()
        assert 1 <= min(asked)
        assert max(asked) <= most
    assert fewest(lambda count: False, most) is None


def test_the_estimate_bounds_the_measurements() -> None:
    for needed in range(1, 8):
        patient = Patient(lambda recipe, needed=needed: 0.99 if len(recipe.float_layers) >= needed else 0.9)
        patient.climb(every_step=True)
        assert len(patient.asked) <= most_trials(len(LAYERS))


def test_among_equals_the_one_that_moves_the_logits_least_is_best() -> None:
    louder = trial(BASE, 0.99).model_copy(update={"mean_abs_difference": 0.5})
    assert best_of((louder, trial(BASE, 0.99))) == trial(BASE, 0.99)


def test_the_interval_of_a_median_is_that_of_the_order_statistics() -> None:
    # Of 40 values the 14th and the 27th bound the median with 96 % (Conover, Practical Nonparametric Statistics).
    assert median_interval(list(range(1, 41))) == (14, 27)
    assert median_interval([3.0]) == (3.0, 3.0)
