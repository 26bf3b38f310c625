"""Making what was planned: keep what is unchanged, gather evidence once, and let workers make the rest."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from distill import terminal
from distill.checkpoint import Card
from distill.terminal import console
from export.artifact.manifest import MANIFEST_FILE, Delegation, FormatName, Manifest
from export.formats import FORMATS, Target
from export.quantize.calibration import PictureFolder
from export.run import pool, reuse
from export.run.pool import Event, Limits, Opened, Opening, Outcome, Task
from export.run.reuse import Settings
from export.run.worker import Order, Preparation

if TYPE_CHECKING:  # it imports torch; a run with nothing to do should not wait for it
    from export.proof.evidence import Evidence

OPERATIONS_SHOWN = 6


@dataclass(frozen=True)
class Request:
    """What one command has to make.

    Attributes:
        checkpoint: folder of the model, verified.
        card: with the temperature that will be in the graph.
        targets: artifacts, in the order in which they are reported.
        settings: images, seed and recipe.
        folder: the user's own pictures, if any.
        out: where the artifacts go.
        allow_loss: put artifacts in place even if they fail their limits.
        force: make also what is unchanged.
    """

    checkpoint: Path
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
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        tasks = [plan_task(request, target, Path(scratch)) for target in request.targets]
        outcomes = {} if request.force else kept(request, tasks)
        for outcome in outcomes.values():
            terminal.say(ending(outcome))
        todo = [task for task in tasks if task.target not in outcomes]
        if todo:
            made = make_all(request, todo, Path(scratch), jobs=jobs, limits=limits)
            outcomes |= {outcome.task.target: outcome for outcome in made}
    return [Result(outcome, manifest_of(outcome)) for outcome in (outcomes[target] for target in request.targets)]


def plan_task(request: Request, target: Target, scratch: Path) -> Task:
    """Where everything of one artifact lies; nothing is written yet."""
    return Task(
        target=target,
        inputs_sha256=reuse.inputs_sha256(request.card, target, request.settings),
        folder=request.out / target.name,
        refusal=request.out / f"{target.name}.refused.json",
        log=request.out / f"{target.name}.log",
        order=scratch / f"{target.name}.json",
        ending=scratch / f"{target.name}.ending",
        shared=scratch / f"{target.format}.shared",
    )


def kept(request: Request, tasks: Sequence[Task]) -> dict[Target, Outcome]:
    """Outcomes that are known beforehand: artifacts whose inputs are unchanged, and those that were refused."""
    found: dict[Target, Outcome] = {}
    for task in tasks:
        manifest = reuse.unchanged(task.folder, task.inputs_sha256)
        if manifest is not None and (request.allow_loss or manifest.parity.verdict != "fail"):
            found[task.target] = Outcome(task, 0.0, "unchanged", "")
            continue
        refused = reuse.refused_before(task.refusal, task.inputs_sha256)
        if refused is not None and not request.allow_loss:
            cause = f"refused before, and nothing has changed: {refused.parity.reason}. Accept it with --allow-loss"
            found[task.target] = Outcome(task, 0.0, "refused", cause)
    return found


def make_all(request: Request, tasks: Sequence[Task], scratch: Path, *, jobs: int, limits: Limits) -> list[Outcome]:
    """Gather evidence, while a first toolchain is imported; then let workers make the artifacts, the longest first."""
    evidence_file = scratch / "evidence.npz"
    tasks = pool.longest_first(tasks)
    processes = pool.processes(scratch, request.card.model)
    try:
        openings = plan_openings(request, tasks, scratch) if pool.can_fork() else []
        begun = pool.open_ahead(tasks, processes, openings) if jobs > 1 else None
        prepared = {opening.format for opening in openings}
        gather_visibly(request, tasks).save(evidence_file)
        for task in tasks:
            order_for(request, task, evidence_file, shares=task.target.format in prepared).write(task.order)
    except BaseException:
        processes.close()
        raise
    events = pool.run(tasks, processes, jobs=jobs, limits=limits, openings=openings, begun=begun)
    return follow(events)


def plan_openings(request: Request, tasks: Sequence[Task], scratch: Path) -> list[Opening]:
    """The shared work of formats that have some, and more than one artifact to share it."""
    openings: list[Opening] = []
    counts: Counter[FormatName] = Counter(task.target.format for task in tasks)
    for name, count in counts.items():
        if FORMATS[name].shares and count > 1:
            (one, *_) = (task for task in tasks if task.target.format == name)
            one.shared.mkdir()
            opening = Opening(name, scratch / f"{name}.preparation.json", scratch / f"{name}.ending")
            Preparation(
                checkpoint=str(request.checkpoint.resolve()),
                format=name,
                batch=one.target.batch,
                temperature=request.card.temperature,
                folder=str(one.shared),
                ending=str(opening.ending),
            ).write(opening.order or one.order)
            openings.append(opening)
    return openings


def gather_visibly(request: Request, tasks: Sequence[Task]) -> "Evidence":
    """`export.proof.evidence.gather` behind a progress bar, which moves while torch is imported, too."""
    with terminal.progress(unit="images") as display:
        bar = display.add_task("importing torch, reading images", total=None, note="")
        from distill import checkpoint
        from export.convert import with_temperature
        from export.proof.evidence import gather

        settings = request.settings
        loaded = with_temperature(checkpoint.load(request.checkpoint), request.card.temperature)
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


def order_for(request: Request, task: Task, evidence: Path, *, shares: bool) -> Order:
    """What the worker of one artifact is told."""
    return Order(
        checkpoint=str(request.checkpoint.resolve()),
        evidence=str(evidence),
        format=task.target.format,
        precision=task.target.precision,
        batch=task.target.batch,
        temperature=request.card.temperature,
        recipe=request.settings.recipe,
        allow_loss=request.allow_loss,
        inputs_sha256=task.inputs_sha256,
        folder=str(task.folder.resolve()),
        shared=str(task.shared) if shares else None,
        refusal=str(task.refusal.resolve()),
        ending=str(task.ending),
    )


def follow(events: Iterable[Event]) -> list[Outcome]:
    """Show one line for each piece of work, with the time it has taken so far, until nothing more happens."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console, transient=True) as display:
        lines: dict[Target | FormatName, TaskID] = {}
        for event in events:
            match event:
                case Task():
                    lines[event.target] = display.add_task(f"exporting {event.target.name}", total=None)
                case Opening():
                    lines[event.format] = display.add_task(f"importing {in_words(event)}", total=None)
                case Opened():
                    display.remove_task(lines[event.opening.format])
                    terminal.say(f"[dim]imported  {in_words(event.opening):<16} {event.seconds:6.1f} s[/]")
                case Outcome():
                    if event.task.target in lines:
                        display.remove_task(lines[event.task.target])
                    terminal.say(ending(event))
                    outcomes.append(event)
    return outcomes


def in_words(opening: Opening) -> str:
    """What is done before a format's artifacts."""
    return opening.format if opening.order is None else f"{opening.format}, fp32 made"


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
    if manifest and manifest.delegation and manifest.delegation.fell_back:
        line += f"\n          [yellow]fell back:[/] {escape(fall_back(manifest.delegation))}"
    return line


def fall_back(delegation: Delegation) -> str:
    """What the backend did not take, in words."""
    if not delegation.pieces:
        return f"{delegation.backend} took nothing of the graph"
    found = f"{delegation.backend} takes the graph in {delegation.pieces} piece(s)"
    counts = sorted(delegation.undelegated.items(), key=lambda item: -item[1])
    if not counts:
        return found
    names = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts[:OPERATIONS_SHOWN])
    return f"{found}; outside: {names}{', …' if len(counts) > OPERATIONS_SHOWN else ''}"


def manifest_of(outcome: Outcome) -> Manifest | None:
    """What an artifact says of itself: in place, or kept beside it if it was refused."""
    if outcome.status == "failed":
        return None
    task = outcome.task
    return Manifest.read(task.refusal if outcome.status == "refused" else task.folder / MANIFEST_FILE)
