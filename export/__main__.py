"""python -m export CHECKPOINT: a checkpoint into artifacts, each proven against eager PyTorch; bundle: for the app."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from distill import terminal
from distill.errors import WorkFailed
from distill.terminal import console
from export import formats, pool
from export.artifact.manifest import MANIFEST_FILE, Manifest
from export.bundle import bundle
from export.formats import Plan
from export.pool import Outcome, Task

if TYPE_CHECKING:  # they import torch; --help should not wait for it
    from distill.checkpoint import Checkpoint
    from export.evidence import Evidence


app = typer.Typer(cls=terminal.takes_for_granted("export"), add_completion=False, help=__doc__)
app.command()(bundle)

COLUMNS = ("artifact", "size", "parity", "agrees", "accuracy", "max Δ", "time s")
"""Fits 80 columns. `agrees`: top-1 agreement with eager; `max Δ`: largest difference of a logit from eager's."""
DEFAULT_OUT = Path("out/artifacts")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="run folder, or folder with card.json and weights.safetensors")],
    format: Annotated[str, typer.Option(help=f"all, or some of {','.join(formats.FORMATS)}")] = "all",
    precision: Annotated[
        str | None, typer.Option(help=f"some of {','.join(formats.PRECISIONS)}; by default all that a format has")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="where the artifacts go; by default out/artifacts/NAME")] = None,
    name: Annotated[str | None, typer.Option(help="by default the run folder's name")] = None,
    parity_images: Annotated[int, typer.Option(min=1, help="held-out images to compare with eager on")] = 1000,
    calibration_images: Annotated[int, typer.Option(min=1, help="training images to calibrate int8 on")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="chooses both")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="workers at once; by default one per core, memory permitting")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
) -> int:
    """Export a checkpoint to every format and precision asked for; exit code 1 if one failed or lost too much."""
    from distill import checkpoint as checkpoints

    card = checkpoints.Card.read(checkpoints.find(checkpoint) / checkpoints.CARD_FILE)
    plan = formats.plan(format, precision, has_data=card.training is not None)
    loaded = checkpoints.load(checkpoint)
    out = make_folder(out or DEFAULT_OUT / (name or run_name(loaded.folder)))
    show_skipped(plan)
    with tempfile.TemporaryDirectory(prefix="export-") as name_of_scratch:
        scratch = Path(name_of_scratch)
        evidence_file = scratch / "evidence.npz"
        num_calibration = calibration_images if any(target.calibrated for target in plan.targets) else 0
        evidence = gather_visibly(loaded, num_parity=parity_images, num_calibration=num_calibration, seed=seed)
        evidence.save(evidence_file)
        tasks = pool.prepare(
            plan.targets,
            checkpoint=loaded.folder.resolve(),
            evidence=evidence_file,
            out=out.resolve(),
            scratch=scratch,
        )
        outcomes = follow(tasks, jobs=jobs or pool.default_jobs())
    order = [target.name for target in plan.targets]
    outcomes.sort(key=lambda outcome: order.index(outcome.task.target.name))
    return report(outcomes, card.model, out, as_json=as_json)


def gather_visibly(loaded: "Checkpoint", *, num_parity: int, num_calibration: int, seed: int) -> "Evidence":
    """`export.evidence.gather` behind a progress bar."""
    from export.evidence import gather

    with terminal.progress(unit="images") as display:
        bar = display.add_task("eager on held-out images", total=None, note="")
        return gather(
            loaded,
            num_parity=num_parity,
            num_calibration=num_calibration,
            seed=seed,
            on_progress=lambda done, total: display.update(bar, completed=done, total=total),
        )


def report(outcomes: Sequence[Outcome], model: str, out: Path, *, as_json: bool) -> int:
    """Show what came of it, as a table or as JSON; 1 if an artifact was not made or failed its limits, else 0."""
    manifests = [read_manifest(outcome) for outcome in outcomes]
    pairs = list(zip(outcomes, manifests, strict=True))
    if as_json:
        print(json.dumps([as_record(outcome, manifest) for outcome, manifest in pairs], indent=2))
    else:
        rows = [row(outcome, manifest) for outcome, manifest in pairs]
        console.print(terminal.table(f"{model} in {out}", COLUMNS, rows))
        terminal.product(out, f"python -m bench {out}/* --device cpu")
    return 0 if all(manifest is not None and manifest.parity.verdict != "fail" for manifest in manifests) else 1


def run_name(folder: Path) -> str:
    """Name of the run a checkpoint folder belongs to: `best` and `last` lie inside it."""
    folder = folder.resolve()
    return folder.parent.name if folder.name in ("best", "last") else folder.name


def make_folder(folder: Path) -> Path:
    """Make sure that artifacts can be written before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise WorkFailed(f"cannot write into {folder}: {error.strerror}. Choose another place with --out.") from error


def show_skipped(plan: Plan) -> None:
    """One line for each pair that is left out, with the reason."""
    for pair, reason in plan.skipped:
        terminal.say(f"[dim]left out:[/] {escape(pair)} ({escape(reason)})")


def follow(tasks: Sequence[Task], *, jobs: int) -> list[Outcome]:
    """Run all tasks; show one line per artifact, with the time it has taken so far."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console, transient=True) as display:
        lines = {}
        for event in pool.run(tasks, jobs=jobs):
            if isinstance(event, Task):
                lines[event.target.name] = display.add_task(f"exporting {event.target.name}", total=None)
                continue
            display.remove_task(lines[event.task.target.name])
            terminal.say(ending(event))
            outcomes.append(event)
    return outcomes


def ending(outcome: Outcome) -> str:
    """One line that says how an artifact ended, as markup."""
    what = f"{outcome.task.target.name:<16} {outcome.seconds:6.1f} s"
    if outcome.failure is None:
        return f"[green]made[/]   {what}"
    return f"[red]failed[/] {what}  {escape(outcome.failure)}\n       log: {escape(str(outcome.task.log))}"


def read_manifest(outcome: Outcome) -> Manifest | None:
    """The manifest of an artifact that was made."""
    return None if outcome.failure else Manifest.read(outcome.task.folder / MANIFEST_FILE)


def row(outcome: Outcome, manifest: Manifest | None) -> list[str]:
    """One line of the table, as markup."""
    target, seconds = outcome.task.target, f"{outcome.seconds:.1f}"
    if manifest is None:
        return [f"{target.format} {target.precision}", "", "[red]failed[/]", "", "", "", seconds]
    parity = manifest.parity
    colour = {"pass": "green", "fail": "red", "not-run": "yellow"}[parity.verdict]
    return [
        f"{target.format} {target.precision}",
        f"{manifest.size_bytes / 1e6:.2f} MB",
        f"[{colour}]{parity.verdict}[/]",
        _percent(parity.top1_agreement),
        _percent(parity.accuracy),
        "–" if parity.max_abs_difference is None else f"{parity.max_abs_difference:.1e}",
        seconds,
    ]


def as_record(outcome: Outcome, manifest: Manifest | None) -> dict[str, object]:
    """One entry of `--json`; `manifest` is null if the artifact was not made."""
    task = outcome.task
    return {
        "format": task.target.format,
        "precision": task.target.precision,
        "folder": str(task.folder),
        "log": str(task.log),
        "seconds": round(outcome.seconds, 3),
        "failure": outcome.failure,
        "size_bytes": manifest.size_bytes if manifest else None,
        "manifest": manifest.model_dump(mode="json") if manifest else None,
    }


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


if __name__ == "__main__":
    terminal.run(app)
