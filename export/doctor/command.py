"""python -m export doctor: where quantization hurts a checkpoint, and the cheapest recipe that keeps it."""

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from distill import checkpoint as checkpoints
from distill import terminal
from distill.errors import UsageError
from distill.vision.tasks import TASKS, Measure
from export.artifact.manifest import FormatName
from export.doctor import verdict, words
from export.doctor.escalation import most_trials
from export.doctor.process import examine
from export.doctor.record import DIAGNOSIS_FILE, Diagnosis, FormatDiagnosis, LayerSensitivity, Step
from export.doctor.worker import BASES, BrokeDown, Chosen, Order, StepEnded
from export.proof.limits import QUANTIZED_MIN_AGREEMENT_BESIDE, limit
from export.quantize.recipe import HoldOutIdentity, QuantizationRecipe
from export.run import pool
from export.run.options import run_name
from export.run.plan import plan
from export.run.processes import Limits

if TYPE_CHECKING:  # --help and wrong requests are answered before torch is loaded
    from distill.checkpoint import Card, Checkpoint
    from export.doctor.split import CalibrationSplit
    from export.proof.evidence import Evidence

DEFAULT_OUT = Path("out/doctor")
SENSITIVITY_RECIPE = QuantizationRecipe(calibrator="mse")
"""Layers are ranked under the calibrator that most formats take by default."""


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes:
        hold_out_images, calibration_images: how many training images at most to choose on, and to find ranges with.
        seed: chooses both.
        data: where they lie now; None for where they were.
        min_quality_kept: share of eager's quality, by the task's measure, that a recipe must keep on the hold-out.
        min_agreement: share of eager's answers that it must keep beside.
        every_step: do not stop at the first step that is good enough.
        limits: what one measurement may take.
    """

    hold_out_images: int
    calibration_images: int
    seed: int
    data: Path | None
    min_quality_kept: float
    min_agreement: float
    every_step: bool
    limits: Limits


def doctor(
    checkpoint: Annotated[Path, typer.Argument(help="run folder, or folder with card.json and weights.safetensors")],
    format: Annotated[str | None, typer.Option(help=f"some of {','.join(BASES)}; by default all that are here")] = None,
    images: Annotated[int, typer.Option(min=20, help="training images to choose on, others than to calibrate")] = 500,
    calibration_images: Annotated[int, typer.Option(min=1, help="training images to calibrate on")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="chooses all images")] = 0,
    out: Annotated[Path | None, typer.Option(help="where the results go; by default out/doctor/NAME")] = None,
    min_relative_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="share of eager's accuracy (of masks of its mIoU, of depth by the RMSE) that int8 must keep",
            show_default="as the export: 0.99, of depth 0.98",
        ),
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(min=0.1, help="a converter is ended above this; by default all that is free")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds one measurement may take")] = pool.TIMEOUT_S,
    data: Annotated[
        Path | None, typer.Option(help="where its data lie now, if they were moved; they must be the same pictures")
    ] = None,
    every_step: Annotated[bool, typer.Option("--all", help="run every step, also after one is good enough")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the diagnosis as JSON on stdout")] = False,
) -> int:
    """Find out what int8 costs a checkpoint, layer by layer and step by step, and the cheapest recipe that keeps it.

    Every choice is made on training images that nothing was calibrated with; the recipes that were chosen are then run
    once on the validation images. Exit code 1 if a format has no scheme that keeps the model.
    """
    formats = parse_formats(format)
    run = checkpoint
    folder = checkpoints.find(checkpoint)
    card = checkpoints.read_card(folder)
    if card.training is None:
        raise UsageError(
            f"{checkpoint} names no training data, and the doctor needs labelled images to choose on. Give it a "
            "checkpoint that was trained here, or try recipes by hand: python -m export … --recipe FILE --allow-loss."
        )
    limits = pool.worker_limits(1, memory_gib, timeout)
    at_least = limit("int8", has_labels=True, task=card.task).at_least
    at_least = at_least if min_relative_accuracy is None else min_relative_accuracy
    agreement = QUANTIZED_MIN_AGREEMENT_BESIDE.get(card.task, 0.0)
    settings = Settings(images, calibration_images, seed, data, at_least, agreement, every_step, limits)
    out = out or DEFAULT_OUT / run_name(folder)
    diagnosis = examine_checkpoint(run, folder, card, formats, settings, out)
    diagnosis.write(out / DIAGNOSIS_FILE)
    if as_json:
        terminal.answer(diagnosis.to_json())
    else:
        show(diagnosis, out)
    return 0 if all(each.chosen is not None for each in diagnosis.formats) else 1


def parse_formats(text: str | None) -> tuple[FormatName, ...]:
    """The formats to examine; raises UsageError for one that the doctor cannot quantize, run and time here."""
    planned = plan(text or ",".join(BASES), "int8" if text else None, batch=1, has_data=True)
    names: list[FormatName] = [target.format for target in planned.targets if target.precision == "int8"]
    others = [name for name in names if name not in BASES]
    if others or not names:
        raise UsageError(
            f"the doctor does not examine {', '.join(others) or 'any of these'}: it needs a static int8 and a runtime "
            f"that can be timed here. It examines: {', '.join(BASES)}."
        )
    return (*names,)


def examine_checkpoint(
    run: Path, folder: Path, card: "Card", formats: tuple[FormatName, ...], settings: Settings, out: Path
) -> Diagnosis:
    """Everything from images to verdicts; figures, logs and recipes are written on the way."""
    from export.convert import in_deployed_form
    from export.doctor.figure import draw

    measure = TASKS[card.task].measure
    loaded = in_deployed_form(checkpoints.load(folder, settings.data))
    parts, hold_out, reported = gather(loaded, settings)
    say_images(parts.identity, len(parts.calibration.images), len(reported.held_out.images))
    layers = rank_layers(loaded, hold_out)
    out.mkdir(parents=True, exist_ok=True)
    draw(layers, card.model, out)
    rows = [words.layer_row(layer) for layer in layers[: words.LAYERS_SHOWN]]
    title = f"the most sensitive of {len(layers)} layers, one at a time in int8"
    terminal.console.print(terminal.table(title, ("layer", "SQNR dB", "agrees %", "weights"), rows))
    export_words = ["python", "-m", "export", str(run), *image_options(settings)]
    with tempfile.TemporaryDirectory(prefix="doctor-") as scratch:
        hold_out.save(Path(scratch) / "hold-out.npz")
        reported.save(Path(scratch) / "reported.npz")
        diagnoses: list[FormatDiagnosis] = []
        for name in formats:
            order = Order(
                checkpoint=str(folder.resolve()),
                data=None if settings.data is None else str(settings.data.resolve()),
                format=name,
                hold_out=str(Path(scratch) / "hold-out.npz"),
                reported=str(Path(scratch) / "reported.npz"),
                layers=tuple(layer.layer for layer in layers),
                min_quality_kept=settings.min_quality_kept,
                min_agreement=settings.min_agreement,
                every_step=settings.every_step,
                chosen_on=parts.identity,
            )
            steps, ending = follow(order, measure, Path(scratch), out / f"{name}.log", settings.limits)
            diagnoses.append(verdict.conclude(name, steps, ending, out, export_words, measure))
            terminal.say(words.verdict_line(diagnoses[-1]))
    return Diagnosis(
        model=card.model,
        task=card.task,
        checkpoint_sha256=card.weights_sha256,
        hold_out=parts.identity,
        num_calibration=len(parts.calibration.images),
        seed=settings.seed,
        min_quality_kept=settings.min_quality_kept,
        min_agreement=settings.min_agreement,
        layers=layers,
        formats=tuple(diagnoses),
        advice=verdict.advice(card, run, diagnoses),
        versions=checkpoints.versions("torch", "numpy"),
    )


def gather(loaded: "Checkpoint", settings: Settings) -> tuple["CalibrationSplit", "Evidence", "Evidence"]:
    """The parts of the training images; evidence to choose by, and evidence to report."""
    import numpy as np

    from export.doctor.split import split_training
    from export.proof.evidence import Evidence, HeldOut, eager_logits, enough_images, true_of

    card, training = loaded.card, loaded.card.training
    assert training is not None, "the command refuses such a checkpoint"
    parts = split_training(
        loaded.split("train"),
        num_calibration=settings.calibration_images,
        num_hold_out=enough_images(card, settings.hold_out_images),
        seed=settings.seed,
        sha256=training.data.train_sha256,
    )
    validation = loaded.split("validation")
    unseen = validation.balanced(enough_images(card, len(validation)), seed=settings.seed)
    evidence: list[Evidence] = []
    with terminal.progress(unit="images") as display:
        for name, images, ordered_by in (
            ("hold-out", parts.hold_out, (None, None)),
            ("validation", unseen, (settings.seed, training.data.validation_sha256)),
        ):
            bar = display.add_task(f"eager on the {name} images", total=len(images), note="")
            pixels = np.asarray(images.images)
            logits = eager_logits(
                loaded.model, card.preprocess, pixels, lambda done, _, bar=bar: display.update(bar, completed=done)
            )
            held_out = HeldOut(pixels, true_of(images), logits, "held-out", *ordered_by, task=card.task)
            evidence.append(Evidence(held_out, parts.calibration))
    return parts, evidence[0], evidence[1]


def say_images(identity: HoldOutIdentity, num_calibration: int, num_reported: int) -> None:
    """Which images serve for what."""
    apart = "other patients or groups" if identity.apart_by_group else "other images"
    terminal.say(
        f"ranges on {num_calibration} training images, choices on {identity.num_images} ({apart}), "
        f"the result on {num_reported} validation images that no choice sees"
    )


def rank_layers(loaded: "Checkpoint", hold_out: "Evidence") -> tuple[LayerSensitivity, ...]:
    """Per-layer sensitivity behind a progress bar."""
    from export.doctor.sensitivity import measure_layers

    assert hold_out.calibration is not None, "the doctor always calibrates"
    to_input = loaded.card.preprocess.to_input
    with terminal.progress(unit="layers") as display:
        bar = display.add_task("sensitivity", total=None, note="")
        return measure_layers(
            loaded.model,
            to_input(hold_out.calibration.images),
            to_input(hold_out.held_out.images),
            SENSITIVITY_RECIPE,
            loaded.card.task,
            on_progress=lambda done, total: display.update(bar, completed=done, total=total),
        )


def image_options(settings: Settings) -> list[str]:
    """Options that make the export calibrate on the very images that the doctor did."""
    place = [] if settings.data is None else ["--data", str(settings.data)]
    return ["--calibration-images", str(settings.calibration_images), "--seed", str(settings.seed), *place]


def follow(
    order: Order, measure: Measure, scratch: Path, log: Path, limits: Limits
) -> tuple[list[Step], Chosen | BrokeDown]:
    """Listen to one format's worker: a line for each step as it ends, and what it does meanwhile."""
    steps: list[Step] = []
    most = most_trials(len(order.layers)) + 2  # fp32 before, the report behind
    with terminal.progress(unit="at most") as display:
        bar = display.add_task(order.format, total=most, completed=-1, note="")
        for event in examine(order, scratch, log, limits=limits):
            if isinstance(event, (Chosen, BrokeDown)):
                return steps, event
            if isinstance(event, StepEnded):
                before = steps[-1].chosen if steps else None
                steps.append(event.step)
                terminal.say(words.step_line(order.format, event.step, before, measure))
            else:
                display.update(bar, description=f"{order.format}: {escape(event.what)}", advance=1)
    raise AssertionError("the last event is an ending")


def show(diagnosis: Diagnosis, out: Path) -> None:
    """The table of all steps, the result on unseen images, and what to do next."""
    measure = TASKS[diagnosis.task].measure
    limits = words.limits_in_words(diagnosis.min_quality_kept, diagnosis.min_agreement, measure)
    terminal.say(f"{escape(diagnosis.model)} on {diagnosis.hold_out.num_images} hold-out images; needed: {limits}")
    for each in diagnosis.formats:
        rows = [words.step_row(step, each.chosen) for step in each.steps]
        if rows:
            terminal.console.print(terminal.table(each.format, words.COLUMNS, rows))
        if each.reported is not None:
            terminal.say(f"[bold]{each.format}[/] on images no choice saw: {escape(each.reported.reason)}")
    for line in diagnosis.advice:
        terminal.say(f"[bold]else:[/] {escape(line)}")
    commands = [each.export_command for each in diagnosis.formats if each.export_command]
    terminal.product(out / DIAGNOSIS_FILE, escape("\n      ".join(commands) or f"see {shlex.quote(str(out))}"))
