"""The ladder: from the plainest int8 to the most elaborate, a step at a time, until one is good enough.

Pure decisions; what a recipe is worth is found out by the caller's `measure`.
"""

from collections.abc import Callable, Iterator, Sequence

from export.doctor.record import Step, StepName, Trial
from export.quantize.recipe import QuantizationRecipe

Measure = Callable[[QuantizationRecipe], Trial]

SWEEP = (
    QuantizationRecipe(calibrator="percentile", percentile=99.99),
    QuantizationRecipe(calibrator="percentile", percentile=99.9),
    QuantizationRecipe(calibrator="mse"),
    QuantizationRecipe(calibrator="entropy"),
)
"""Calibrators beside min-max."""

MOST_IN_FLOAT = 0.5
"""Of the layers. With more of them there is no int8 model left to speak of."""

LADDER: tuple[StepName, ...] = ("per-channel", "calibrators", "float-layers", "weight-corrections")


def escalate(base: QuantizationRecipe, layers: Sequence[str], measure: Measure, *, every_step: bool) -> Iterator[Step]:
    """Yield each step as it ends.

    The escalation ends with the first step that meets the limits: if its scheme is not faster than fp32 either, no
    later one will be, for all they do is put float work back or move weights. `every_step` goes on regardless.

    Args:
        base: per-channel weights, min-max ranges, and what the format needs for its own reasons.
        layers: names for `float_layers`, the most sensitive first.
        measure: converts, runs and times one recipe.
        every_step: run all steps.
    """
    plain = Step(name="per-channel", trials=(measure(base),), best=0)
    yield plain
    if plain.chosen.meets_limits and not every_step:
        return
    swept = sweep(base, measure)
    yield swept
    if swept.chosen.meets_limits and not every_step:
        return
    ranged = best_of((plain.chosen, swept.chosen)).recipe
    floats = leave_in_float(ranged, layers, measure)
    if floats is not None:
        yield floats
        if floats.chosen.meets_limits and not every_step:
            return
    yield correct_weights(ranged, measure)


def sweep(base: QuantizationRecipe, measure: Measure) -> Step:
    """Every other calibrator; ends with the one that keeps the model best."""
    trials = tuple(
        measure(base.model_copy(update={"calibrator": each.calibrator, "percentile": each.percentile}))
        for each in SWEEP
    )
    return Step(name="calibrators", trials=trials, best=trials.index(best_of(trials)))


def leave_in_float(recipe: QuantizationRecipe, layers: Sequence[str], measure: Measure) -> Step | None:
    """As few of the most sensitive layers in float as meet the limits; the most allowed if none do.

    None if the network has too few layers to leave any out.
    """
    most = int(len(layers) * MOST_IN_FLOAT)
    if most == 0:
        return None
    trials: dict[int, Trial] = {}

    def is_enough(count: int) -> bool:
        trials[count] = measure(recipe.model_copy(update={"float_layers": tuple(layers[:count])}))
        return trials[count].meets_limits

    enough = fewest(is_enough, most)
    chosen = trials[enough] if enough is not None else best_of(tuple(trials.values()))
    tried = tuple(trials.values())
    return Step(name="float-layers", trials=tried, best=tried.index(chosen))


def correct_weights(recipe: QuantizationRecipe, measure: Measure) -> Step:
    """Equalisation, bias correction, and both; they cost no time at inference."""
    trials = tuple(
        measure(recipe.model_copy(update={"equalise": equalise, "correct_bias": correct_bias}))
        for equalise, correct_bias in ((True, False), (False, True), (True, True))
    )
    return Step(name="weight-corrections", trials=trials, best=trials.index(best_of(trials)))


def fewest(is_enough: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 1 to `most` that is enough, by doubling and then halving back; None if `most` is not.

    Right if more is never worse; otherwise a number that is enough, while half of it or one less is not.
    """
    count, too_few = 1, 0
    while not is_enough(count):
        if count == most:
            return None
        count, too_few = min(2 * count, most), count
    while count - too_few > 1:
        middle = (count + too_few) // 2
        if is_enough(middle):
            count = middle
        else:
            too_few = middle
    return count


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial that keeps the model best: within the limits, most answers unchanged, logits moved least."""
    return max(trials, key=lambda trial: (trial.meets_limits, trial.top1_agreement, -trial.mean_abs_difference))


def cheapest(steps: Sequence[Step]) -> Trial | None:
    """The earliest step's scheme that meets the limits and is faster; else the earliest that meets them; else None."""
    chosen = [step.chosen for step in steps]
    solving = [trial for trial in chosen if trial.solves]
    meeting = [trial for trial in chosen if trial.meets_limits]
    return (solving or meeting or [None])[0]


def most_trials(num_layers: int) -> int:
    """Upper bound on the measurements of one format, for an estimate."""
    most = max(1, int(num_layers * MOST_IN_FLOAT))
    return 1 + len(SWEEP) + 2 * most.bit_length() + 3
