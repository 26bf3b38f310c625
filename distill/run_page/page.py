"""The page of a finished run: one HTML file that needs nothing else."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill import checkpoint
from distill.checkpoint import Card, Judgement, Mistake, Training, of_classifier
from distill.config import RunConfig, parse
from distill.contract import write_whole
from distill.data_page.page import OWN_STYLE, data_uri, environment
from distill.errors import UsageError
from distill.evaluation.calibration import reliability
from distill.evaluation.evaluate import judge, predict, worst_mistakes
from distill.page_style import style_sheet
from distill.run_folder import METRICS_FILE, PAGE_FILE
from distill.run_page.pixels import LOOKED_AT, READING, class_rows, worst_pictures
from distill.training.batches import Batches
from distill.vision.datasets import Split

TEMPLATES = Path(__file__).parent
MOST_CLASSES_IN_A_MATRIX = 30


@dataclass(frozen=True)
class Shown:
    """A mistake and its picture, as a data URI."""

    mistake: Mistake
    label: str
    taken_for: str
    source: str


@dataclass(frozen=True)
class Cell:
    """How many images, and which share of their class's, in [0, 1]."""

    count: int
    share: float


def rebuild(run: Path, data: Path | None = None) -> Path:
    """Ask the best network of a finished run again, and write its page anew.

    Args:
        run: the run folder.
        data: where its data lie now; None for where they were.

    Raises:
        UsageError: there is no finished run, its data are gone or have changed, or the page's packages are missing.
    """
    if not (run / METRICS_FILE).is_file():
        raise UsageError(f"{run} is not a run folder: there is no {METRICS_FILE} in it. Name one, e.g. out/runs/demo.")
    loaded = checkpoint.load(run / "best", data)
    training = loaded.card.training
    if training is None or not training.finished:
        raise UsageError(f"{run} holds an unfinished run. Go on with: python -m distill run {run} --out {run} --resume")
    split = loaded.split("validation")
    if split.truth is not None:
        return write_page(run, loaded.card, split, None)
    logits = predict(loaded.model, Batches(split, batch_size=256, device=torch.device("cpu")))
    return write_page(run, loaded.card, split, logits)


def write_page(run: Path, card: Card, split: Split, logits: Tensor | None) -> Path:
    """Write the page into the run folder and return its path.

    Args:
        run: holds `metrics.jsonl`.
        card: of the best epoch.
        split: the validation images.
        logits: [N, classes], what the network of the best epoch answers to them; None where it answers for every
            pixel: then it is asked about a few.

    Raises:
        UsageError: jinja2 or matplotlib is missing.
        WorkFailed: the file cannot be written.
    """
    rows = [json.loads(line) for line in (run / METRICS_FILE).read_text("utf-8").splitlines()]
    path = run / PAGE_FILE
    text = render_pixels(run, card, rows, split) if logits is None else render(card, rows, split, logits.cpu())
    write_whole(path, text.encode("utf-8", "replace"))
    return path


def render_pixels(run: Path, card: Card, rows: Sequence[dict[str, Any]], split: Split) -> str:
    """The page of a network that answers for every pixel, as text; arguments and errors as `write_page`."""
    templates = environment(TEMPLATES)
    from distill.run_page.charts import learning_curves  # takes a second

    training = card.training
    assert training is not None
    assert training.validation is not None
    config = parse(json.dumps(training.config), source="card.json")
    figures = training.validation.metrics.figures()
    title, value = next(iter(figures.items()))
    return templates.get_template("pixels.html.j2").render(
        name=config.name,
        card=card,
        training=training,
        rows=rows,
        title=title,
        value=value,
        figures=figures,
        duration=_duration(sum(row.get("seconds", 0.0) for row in rows)),
        parameters=_rounded(card.num_parameters),
        curves=learning_curves(rows, training.best.epoch),
        classes=class_rows(card, training.validation),
        pictures=worst_pictures(checkpoint.load(run / "best").model, card, split),
        looked_at=min(LOOKED_AT, len(split)),
        reading=READING[card.task],
        data_facts=list(_data_facts(card, training, config)),
        run_facts=list(_run_facts(card, training, config, len(rows))),
        settings=json.dumps(training.config, indent=2, ensure_ascii=False),
        css=style_sheet(OWN_STYLE, TEMPLATES / "run.css"),
    )


def render(card: Card, rows: Sequence[dict[str, Any]], split: Split, logits: Tensor) -> str:
    """The page as text; arguments and errors as `write_page`, `rows` being those of `metrics.jsonl`."""
    templates = environment(TEMPLATES)
    from distill.run_page.charts import learning_curves, reliability_diagram  # takes a second

    training = card.training
    assert training is not None
    config = parse(json.dumps(training.config), source="card.json")
    labels = torch.from_numpy(split.labels)
    validation = training.validation or judge(logits, labels, epoch=training.best.epoch)
    mistakes = validation.mistakes or tuple(worst_mistakes(logits, labels, split.names))  # cards before version 4
    judgements = [("validation", validation), *([("test", training.test)] if training.test else [])]
    is_small = len(card.class_names) <= MOST_CLASSES_IN_A_MATRIX
    return templates.get_template("page.html.j2").render(
        name=config.name,
        card=card,
        training=training,
        names=card.class_names,
        rows=rows,
        validation=validation,
        test=training.test,
        duration=_duration(sum(row.get("seconds", 0.0) for row in rows)),
        parameters=_rounded(card.num_parameters),
        curves=learning_curves(rows, training.best.epoch),
        sureness=reliability_diagram(reliability(logits, labels), of_classifier(validation.metrics).ece),
        matrices=[(title, matrix(judgement)) for title, judgement in judgements] if is_small else [],
        mistakes=list(pictured(mistakes, split)),
        num_wrong=sum(validation.images) - sum(validation.right),
        data_facts=list(_data_facts(card, training, config)),
        run_facts=list(_run_facts(card, training, config, len(rows))),
        settings=json.dumps(training.config, indent=2, ensure_ascii=False),
        css=style_sheet(OWN_STYLE, TEMPLATES / "run.css"),
    )


def pictured(mistakes: Sequence[Mistake], split: Split) -> Iterator[Shown]:
    """Mistakes with their pictures, which are images of the split."""
    images = split.images[np.asarray([each.image for each in mistakes])] if mistakes else []
    for each, pixels in zip(mistakes, images, strict=True):
        grey = pixels.shape[2] == 1
        yield Shown(
            mistake=each,
            label=split.class_names[each.label],
            taken_for=split.class_names[each.taken_for],
            source=data_uri(Image.fromarray(np.squeeze(pixels, axis=2) if grey else pixels)),
        )


def matrix(judgement: Judgement) -> list[list[Cell]]:
    """The confusion matrix, a row per class."""
    classes = range(len(judgement.images))
    counts = {(own, other): count for own, other, count in judgement.confusions}
    counts |= {(own, own): judgement.right[own] for own in classes}
    rows = [[counts.get((own, other), 0) for other in classes] for own in classes]
    return [[Cell(count, count / max(judgement.images[own], 1)) for count in row] for own, row in enumerate(rows)]


def _data_facts(card: Card, training: Training, config: RunConfig) -> Iterator[tuple[str, str]]:
    data, sees = training.data, card.preprocess
    yield "Data set", getattr(data.config, "path", data.config.kind)
    if config.task.num_outputs is None:
        yield "Classes", f"{len(card.class_names):,}"
    for split in ("train", "validation", "test"):
        count, sha256 = getattr(data, f"num_{split}"), getattr(data, f"{split}_sha256")
        if sha256 is not None:
            yield f"{split.capitalize()} images", f"{count:,} (SHA-256 {sha256[:12]}…)"
    colours = "grey" if sees.channels == 1 else "RGB"
    yield "What the network sees", f"{sees.size_px} × {sees.size_px} px, {colours}, resized by {sees.resize}"
    yield "Mean and deviation", f"{_numbers(sees.mean)}; {_numbers(sees.std)}"
    augment = config.training.augment
    plain = type(augment)()
    changed = [name for name in type(augment).model_fields if getattr(augment, name) != getattr(plain, name)]
    yield "Views", ", ".join(name.replace("_", " ") for name in changed) or "the plain images"


def _run_facts(card: Card, training: Training, config: RunConfig, epochs: int) -> Iterator[tuple[str, str]]:
    settings, teacher = config.training, config.teacher
    yield "Method", training.method
    if teacher is not None:
        what = getattr(teacher, "model", None) or getattr(teacher, "path", "")
        yield "Teacher", f"{what} ({teacher.kind}, SHA-256 {str(training.teacher_sha256)[:12]}…)"
    if settings.origin is not None:
        yield "Began with", settings.origin.name
    optimizer = settings.optimizer
    yield "Optimizer", f"{optimizer.kind}, rate {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}"
    yield "Schedule", settings.schedule.kind
    yield "Epochs", f"{epochs} of {settings.epochs}{', stopped early' if epochs < settings.epochs else ''}"
    yield "Batch", f"{settings.batch_size} images"
    yield "Precision", settings.precision
    yield "Judged by", config.measure.title
    yield "Seed", str(training.seed)
    yield "Weights", f"SHA-256 {card.weights_sha256[:12]}…"
    yield "Made with", ", ".join(f"{name} {version}" for name, version in card.versions.items())


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _rounded(count: int) -> tuple[str, str]:
    return (f"{count / 1e6:.2f}", "million") if count >= 1e6 else (f"{count / 1e3:.1f}", "thousand")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s of training"
    return f"{seconds / 60:.0f} min of training" if seconds < 7200 else f"{seconds / 3600:.1f} h of training"
