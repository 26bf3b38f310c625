"""Making what was planned: keep what is unchanged, gather evidence once, and let workers make the rest."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from distill import terminal
from distill.checkpoint import Card
from distill.terminal import console
from export.artifact.manifest import MANIFEST_FILE, Delegation, FormatName, Manifest
from export.artifact.runner import RUNNERS
from export.formats import Target
from export.proof.classes import ClassRecall, recalls
from export.quantize.calibration import PictureFolder
from export.run import reuse
from export.run.pool import Event, Importing, Outcome, Pool, Task
from export.run.processes import Limits
from export.run.reuse import Settings
from export.run.worker import Order, Piece

if TYPE_CHECKING:  # it imports torch; a run with nothing to do should not wait for it
    from export.proof.evidence import Evidence

OPERATIONS_SHOWN = 6
CLASSES_SHOWN = 3


@dataclass(frozen=True)
class Request:
    """What one command has to make.

    Attributes:
        checkpoint: folder of the model, verified.
        data: where its data lie now; None for where they were.
        card: with the temperature that will be in the graph.
        targets: artifacts, in the order in which they are reported.
        settings: images, seed and recipe.
        folder: the user's own pictures, if any.
        out: where the artifacts go.
        allow_loss: put artifacts in place even if they fail their limits.
        force: make also what is unchanged.
    """

    checkpoint: Path
    data: Path | None
    card: Card
    targets: tuple[Target, ...]
    settings: Settings
    folder: PictureFolder | None
    out: Path
    allow_loss: bool
    force: bool


@dataclass(frozen=True)
class Result:
    """One artifact of the request; `manifest` is None if it could not be made, and that of a refused one is kept."""

    outcome: Outcome
    manifest: Manifest | None


def make(request: Request, *, jobs: int, limits: Limits) -> list[Result]:
    """Make every artifact of a request, in its order; one that fails does not stop the others."""
    tasks = [plan_task(request, target) for target in request.targets]
    outcomes = {} if request.force else kept(request, tasks)
    for outcome in outcomes.values():
        terminal.say(ending(outcome))
    todo = [task for task in tasks if task.target not in outcomes]
    if todo:
        made = make_all(request, todo, jobs=jobs, limits=limits)
        outcomes |= {outcome.task.target: outcome for outcome in made}
    return [Result(outcome, manifest_of(outcome)) for outcome in (outcomes[target] for target in request.targets)]


def plan_task(request: Request, target: Target) -> Task:
    """Where everything of one artifact lies; nothing is written yet."""
    return Task(
        target=target,
        inputs_sha256=reuse.inputs_sha256(request.card, target, request.settings),
        folder=request.out / target.name,
        refusal=request.out / f"{target.name}.refused.json",
        log=request.out / f"{target.name}.log",
    )


def kept(request: Request, tasks: Sequence[Task]) -> dict[Target, Outcome]:
    """Outcomes that are known beforehand: artifacts whose inputs are unchanged, and those that were refused."""
    outcomes: dict[Target, Outcome] = {}
    for task in tasks:
        manifest = reuse.unchanged(task.folder, task.inputs_sha256)
        if manifest is not None and (request.allow_loss or manifest.parity.verdict != "fail"):
            outcomes[task.target] = Outcome(task, 0.0, "unchanged", "")
            continue
        refused = reuse.refused_before(task.refusal, task.inputs_sha256)
        if refused is not None and not request.allow_loss:
            cause = f"refused before, and nothing has changed: {refused.parity.reason}. Accept it with --allow-loss"
            outcomes[task.target] = Outcome(task, 0.0, "refused", cause)
    return outcomes


def make_all(request: Request, tasks: Sequence[Task], *, jobs: int, limits: Limits) -> list[Outcome]:
    """Gather evidence, while first toolchains are imported; then let workers make the artifacts."""
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        evidence = Path(scratch, "evidence.npz")
        order = partial(order_for, request, evidence)
        pool = Pool(tasks, order, Path(scratch), jobs=jobs, limits=limits)
        try:
            pool.start_ahead()
            gather_visibly(request, tasks).save(evidence)
            return follow(pool.run())
        finally:
            pool.close()


def gather_visibly(request: Request, tasks: Sequence[Task]) -> "Evidence":
    """`export.proof.evidence.gather` behind a progress bar, which moves while torch is imported, too."""
    with terminal.progress(unit="images") as display:
        bar = display.add_task("importing torch, reading images", total=None, note="")
        from distill import checkpoint
        from export.convert import with_small_answers, with_temperature
        from export.proof.evidence import gather

        settings = request.settings
        loaded = with_temperature(checkpoint.load(request.checkpoint, request.data), request.card.temperature)
        loaded = with_small_answers(loaded) if settings.low_resolution else loaded
        calibrates = request.folder is not None or any(task.target.calibrated for task in tasks)
        return gather(
            loaded,
            num_parity=settings.parity_images,
            num_calibration=settings.calibration_images if calibrates else 0,
            seed=settings.seed,
            folder=request.folder,
            on_progress=lambda done, total: display.update(
                bar, description="eager on held-out images", completed=done, total=total
            ),
        )


def order_for(request: Request, evidence: Path, tasks: Sequence[Task], log: Path) -> Order:
    """What the worker is told that makes some artifacts of one format."""
    return Order(
        checkpoint=str(request.checkpoint.resolve()),
        data=None if request.data is None else str(request.data.resolve()),
        evidence=str(evidence),
        format=tasks[0].target.format,
        batch=tasks[0].target.batch,
        temperature=request.card.temperature,
        low_resolution=request.settings.low_resolution,
        recipe=request.settings.recipe,
        allow_loss=request.allow_loss,
        log=str(log),
        pieces=tuple(
            Piece(
                precision=task.target.precision,
                inputs_sha256=task.inputs_sha256,
                folder=str(task.folder.resolve()),
                refusal=str(task.refusal.resolve()),
                log=str(task.log.resolve()),
            )
            for task in tasks
        ),
    )


def follow(events: Iterable[Event]) -> list[Outcome]:
    """Show one line for each step of a worker, with the time it has taken so far, until nothing more happens."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console, transient=True) as display:
        lines: dict[FormatName, TaskID] = {}

        def show(format: FormatName, words: str | None) -> None:
            if format in lines:
                display.remove_task(lines.pop(format))
            if words is not None:
                lines[format] = display.add_task(words, total=None)

        for event in events:
            match event:
                case Importing():
                    show(event.format, f"importing {event.format}")
                case Task():
                    show(event.target.format, f"exporting {event.target.name}")
                case Outcome():
                    show(event.task.target.format, None)
                    terminal.say(ending(event))
                    outcomes.append(event)
    return outcomes


def ending(outcome: Outcome) -> str:
    """How an artifact ended, as markup: one line, and one more for what the user should know of it."""
    colour = {"made": "green", "unchanged": "green", "refused": "yellow", "failed": "red"}[outcome.status]
    line = f"[{colour}]{outcome.status:<9}[/] {outcome.task.target.name:<16} {outcome.seconds:6.1f} s"
    if outcome.status == "unchanged":
        return line
    if outcome.status != "made":
        return f"{line}  {escape(outcome.cause)}\n          log: {escape(str(outcome.task.log))}"
    manifest = manifest_of(outcome)
    if manifest and manifest.allowed_loss:
        line += f"\n          [red]fails its limits, kept by --allow-loss:[/] {escape(manifest.parity.reason)}"
    if manifest and manifest.parity.verdict == "open":
        line += f"\n          [yellow]open:[/] {escape(manifest.parity.reason)}, and there are no more images"
    if manifest and manifest.parity.verdict == "not-run" and manifest.format in RUNNERS:
        line += f"\n          [yellow]not proven:[/] {escape(manifest.parity.reason)}"
    falls = [each for each in recalls(manifest.parity) if each.falls] if manifest else []
    if manifest and falls:
        line += f"\n          [yellow]recall falls:[/] {escape(falls_in_words(falls, manifest.class_names))}"
    if manifest and manifest.delegation and manifest.delegation.fell_back:
        line += f"\n          [yellow]fell back:[/] {escape(fall_back(manifest.delegation))}"
    return line


def falls_in_words(falls: Sequence[ClassRecall], class_names: Sequence[str]) -> str:
    """Which classes an artifact answers worse, the worst first."""
    words = [
        f"{class_names[each.number]} ({each.correct} of {each.images} right instead of {each.eager_correct})"
        for each in falls[:CLASSES_SHOWN]
    ]
    others = len(falls) - len(words)
    return ", ".join(words) + (f" and {others} more" if others else "")


def fall_back(delegation: Delegation) -> str:
    """What the backend did not take, in words."""
    if not delegation.pieces:
        return f"{delegation.backend} took nothing of the graph"
    summary = f"{delegation.backend} takes the graph in {delegation.pieces} piece(s)"
    counts = sorted(delegation.undelegated.items(), key=lambda item: -item[1])
    if not counts:
        return summary
    names = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts[:OPERATIONS_SHOWN])
    return f"{summary}; outside: {names}{', …' if len(counts) > OPERATIONS_SHOWN else ''}"


def manifest_of(outcome: Outcome) -> Manifest | None:
    """What an artifact says of itself: in place, or kept beside it if it was refused."""
    if outcome.status == "failed":
        return None
    task = outcome.task
    return Manifest.read(task.refusal if outcome.status == "refused" else task.folder / MANIFEST_FILE)
