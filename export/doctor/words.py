"""Recipes, steps and verdicts in the words that the user reads."""

from rich.markup import escape

from distill.vision.tasks import ACCURACY, Measure
from export.doctor.record import FormatDiagnosis, LayerSensitivity, Step, StepName, Trial
from export.proof.limits import QUANTIZED_MIN_AGREEMENT
from export.quantize.recipe import QuantizationRecipe

COLUMNS = ("recipe", "agrees %", "kept %", "bytes", "pieces", "speed", "verdict")
"""Kept: quality as a share of eager's; bytes and speed: as multiples of fp32's."""
LAYERS_SHOWN = 10

_STEPS: dict[StepName, str] = {
    "per-channel": "per-channel weights",
    "calibrators": "calibrators",
    "float-layers": "layers in float",
    "weight-corrections": "weight corrections",
}


def recipe_in_words(recipe: QuantizationRecipe) -> str:
    """What distinguishes a recipe from the plainest one, e.g. "mse, 3 layers in float"."""
    parts = [recipe.calibrator_words]
    if recipe.float_layers:
        parts.append(f"{len(recipe.float_layers)} layer{'s' if len(recipe.float_layers) > 1 else ''} in float")
    if recipe.float_operations:
        parts.append(f"{', '.join(recipe.float_operations)} in float")
    parts += ["equalised"] * recipe.equalise + ["bias corrected"] * recipe.correct_bias
    return ", ".join(parts)


def step_line(format: str, step: Step, before: Trial | None, measure: Measure = ACCURACY) -> str:
    """One step as one line of markup: what it ended with, what it gained over the step before, what it cost."""
    trial = step.chosen
    gained = "" if before is None else f" ({_points(trial.top1_agreement - before.top1_agreement)})"
    colour = "green" if trial.solves else "yellow" if trial.meets_limits else "red"
    tried = f"{len(step.trials)} tried, " if len(step.trials) > 1 else ""
    seconds = sum(each.seconds for each in step.trials)
    return (
        f"[{colour}]{'✓' if trial.meets_limits else '✗'}[/] {format:<10} {_STEPS[step.name]:<19} "
        f"{escape(recipe_in_words(trial.recipe))}: agrees {trial.top1_agreement:.1%}{gained}, "
        f"{kept_in_words(trial, measure)}, "
        f"{trial.size_share:.2f} of fp32's bytes{_pieces(trial)}, {speed_in_words(trial)}  "
        f"[dim]{tried}{seconds:.0f} s[/]"
    )


def kept_in_words(trial: Trial, measure: Measure) -> str:
    """E.g. "keeps 0.9930 of the accuracy (-1.2 to +0.3 points)"; of pixels the interval is one of what is kept."""
    interval = ""
    if trial.accuracy_interval is not None:
        low, high = trial.accuracy_interval
        interval = f" ({low * 100:+.1f} to {high * 100:+.1f} points)"
    elif trial.kept_interval is not None:
        low, high = trial.kept_interval
        interval = f" ({low:.4f} to {high:.4f})"
    return f"keeps {trial.quality_kept:.4f} of the {measure.title}{interval}"


def speed_in_words(trial: Trial) -> str:
    """The ratio to fp32 with its interval."""
    low, high = trial.speed.interval
    return f"{trial.speed.ratio:.2f} × ({low:.2f}–{high:.2f}) as fast as fp32"


def step_row(step: Step, chosen: Trial | None) -> list[str]:
    """One step as a row of the final table."""
    trial = step.chosen
    low, high = trial.speed.interval
    verdict = "loses too much"
    if trial.meets_limits:
        verdict = "good, faster" if trial.speed.faster else "good, not faster"
    mark = "[green]" if trial == chosen else ""
    return [
        f"{mark}{escape(recipe_in_words(trial.recipe))}",
        f"{trial.top1_agreement * 100:.1f}",
        f"{trial.quality_kept * 100:.2f}",
        f"{trial.size_share:.2f}",
        "–" if trial.pieces is None else str(trial.pieces),
        f"{trial.speed.ratio:.2f} ({low:.2f}–{high:.2f})",
        f"{mark}{verdict}{': chosen' if trial == chosen else ''}",
    ]


def layer_row(layer: LayerSensitivity) -> list[str]:
    """One layer as a row of the sensitivity table."""
    weights, agreement = f"{layer.num_weights:,}", f"{layer.top1_agreement * 100:.1f}"
    return [escape(layer.layer), f"{layer.sqnr_db:.1f}", agreement, weights]


def verdict_line(diagnosis: FormatDiagnosis) -> str:
    """The outcome of one format as one line of markup."""
    colour = {"faster": "green", "not-faster": "yellow", "loses-too-much": "red", "failed": "red"}[diagnosis.outcome]
    return f"[{colour}]{diagnosis.format}[/]: {escape(diagnosis.reason)}"


def limits_in_words(
    min_quality_kept: float, min_agreement: float = QUANTIZED_MIN_AGREEMENT, measure: Measure = ACCURACY
) -> str:
    """What has to be reached on the hold-out."""
    answers = f" and {min_agreement:.4g} of its answers" if min_agreement else ""
    return f"{min_quality_kept:.4g} of eager's {measure.title}{answers}"


def _points(difference: float) -> str:
    return f"{difference * 100:+.1f} points"


def _pieces(trial: Trial) -> str:
    if trial.pieces is None:
        return ""
    return f", {trial.pieces} delegate piece{'' if trial.pieces == 1 else 's'}"
