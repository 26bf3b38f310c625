"""What the doctor concludes of a format's escalation, and what to do where quantizing afterwards is not enough."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from distill.checkpoint import Card
from distill.contract import write_whole
from distill.vision.tasks import ACCURACY, TASKS, Measure
from export.artifact.manifest import FormatName
from export.doctor.escalation import best_of
from export.doctor.record import FormatDiagnosis, Step
from export.doctor.words import kept_in_words, recipe_in_words, speed_in_words
from export.doctor.worker import BrokeDown, Chosen

QUANTIZATION_FRIENDLY = {"mobilenet_v3_small": "mobilenet_v3_small_relu"}
"""Networks that have a variant without hard-swish and squeeze-excitation."""

RECIPE_SUFFIX = ".recipe.json"


def conclude(
    format: FormatName,
    steps: Sequence[Step],
    ending: Chosen | BrokeDown,
    folder: Path,
    export_words: Sequence[str],
    measure: Measure = ACCURACY,
) -> FormatDiagnosis:
    """The verdict on one format; the chosen recipe is written beside it.

    Args:
        format: which.
        steps: of the escalation, as far as it came.
        ending: how the worker ended.
        folder: for the recipe file.
        export_words: the export command for this checkpoint and these calibration images, without format and recipe.
        measure: of the task.
    """
    nothing = {"chosen": None, "recipe_file": None, "export_command": None, "reported": None}
    recipe_file = f"{format}{RECIPE_SUFFIX}"
    if isinstance(ending, BrokeDown) or ending.trial is None:
        (folder / recipe_file).unlink(missing_ok=True)
        failed = isinstance(ending, BrokeDown)
        reason = ending.cause if isinstance(ending, BrokeDown) else _best_so_far(steps, measure)
        return FormatDiagnosis(
            format=format,
            outcome="failed" if failed else "loses-too-much",
            reason=reason,
            steps=tuple(steps),
            **nothing,
        )
    trial = ending.trial
    write_whole(folder / recipe_file, (trial.recipe.model_dump_json(indent=2) + "\n").encode())
    words = [*export_words, "--format", format, "--precision", "int8", "--recipe", str(folder / recipe_file)]
    faster = "" if trial.speed.faster else "; not shown to be faster than fp32 here, and no later step would be"
    return FormatDiagnosis(
        format=format,
        outcome="faster" if trial.solves else "not-faster",
        reason=f"{recipe_in_words(trial.recipe)} is the cheapest that keeps the model, {speed_in_words(trial)}{faster}",
        steps=tuple(steps),
        chosen=trial,
        recipe_file=recipe_file,
        export_command=shlex.join(words),
        reported=ending.reported,
    )


def advice(card: Card, run: Path, formats: Sequence[FormatDiagnosis]) -> tuple[str, ...]:
    """What else can be done for a student of ours; empty if every format has a scheme that is good and faster."""
    if all(diagnosis.outcome in ("faster", "failed") for diagnosis in formats):
        return ()
    remedies: list[str] = []
    config = run / "config.json"
    loses = any(diagnosis.outcome == "loses-too-much" for diagnosis in formats)
    # Training under rounding knows no answers for every pixel yet.
    if loses and config.is_file() and not TASKS[card.task].is_dense:
        words = ["python", "-m", "distill", "run", str(config), "--set", f"quantization_aware.from_run={run}"]
        short = ["--set", f"name={run.name}-qat", "--set", "training.epochs=4", "--set", "training.optimizer.lr=5e-4"]
        remedies.append("quantization-aware fine-tuning: " + shlex.join([*words, *short]))
    friendly = QUANTIZATION_FRIENDLY.get(card.model)
    if friendly is not None and config.is_file():
        words = ["python", "-m", "distill", "run", str(config), "--set", f"model={friendly}"]
        remedies.append("a student built for integers: " + shlex.join([*words, "--set", f"name={run.name}-friendly"]))
    return tuple(remedies)


def _best_so_far(steps: Sequence[Step], measure: Measure) -> str:
    best = best_of([step.chosen for step in steps])
    return (
        f"no scheme keeps the model; the best, {recipe_in_words(best.recipe)}, changes {1 - best.top1_agreement:.1%} "
        f"of the answers and {kept_in_words(best, measure)}"
    )
