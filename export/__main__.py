"""python -m export CHECKPOINT: a checkpoint into artifacts, each proven against eager PyTorch.

Other commands: formats (what exists), doctor (the cheapest int8 that keeps the model), bundle (for the app).
"""

import json
import shlex
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from distill import checkpoint as checkpoints
from distill import terminal
from distill.errors import UsageError, WorkFailed
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS
from export import formats
from export.bundle import bundle
from export.doctor.command import doctor
from export.formats.listing import formats as formats_command
from export.quantize.calibration import PictureFolder
from export.run import outcomes, plan, pool
from export.run.making import Request, Result, make
from export.run.options import (
    Described,
    as_preprocess,
    positive,
    read_recipe,
    refuse_description,
    refuse_unused,
    run_name,
)
from export.run.plan import Plan
from export.run.reuse import Settings

app = typer.Typer(cls=terminal.takes_for_granted("export"), add_completion=False, help=__doc__)
app.command()(bundle)
app.command("formats")(formats_command)
app.command()(doctor)

DEFAULT_OUT = Path("out/artifacts")
BROUGHT_OUT = Path("out/brought")


@app.command()
def export(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="run folder, or folder with card.json and weights.safetensors")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=f"all, or some of {','.join(formats.FORMATS)}; by default all but the variants")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help=f"all, or some of {','.join(formats.PRECISIONS)}; by default fp32 and the format's usual int8"
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="images per call: a number, or dynamic")] = "1",
    out: Annotated[Path | None, typer.Option(help="where the artifacts go; by default out/artifacts/NAME")] = None,
    name: Annotated[str | None, typer.Option(help="by default the run folder's name, or the model's")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="divide the logits by this, inside the graph, instead of the card's temperature"),
    ] = None,
    parity_images: Annotated[
        int,
        typer.Option(min=1, help="held-out images to compare with eager on; more are taken while int8's loss is open"),
    ] = 1000,
    calibration_images: Annotated[int, typer.Option(min=1, help="images to calibrate on")] = 200,
    calibration_folder: Annotated[
        Path | None, typer.Option(help="calibrate on your own pictures in this folder instead of the training images")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="where its data lie now, if they were moved; they must be the same pictures")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="JSON file with settings of the quantizer")] = None,
    seed: Annotated[int, typer.Option(min=0, help="chooses all images")] = 0,
    low_resolution: Annotated[
        bool,
        typer.Option(
            "--low-resolution", help="of masks and depth: leave out the enlarging to the picture's size at the end"
        ),
    ] = False,
    allow_loss: Annotated[bool, typer.Option(help="keep artifacts that fail their limits, marked as such")] = False,
    force: Annotated[bool, typer.Option(help="make also what is unchanged")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="workers at once; by default one per core, memory permitting")
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(min=0.1, help="each worker is ended above this; by default its share, 3 at least")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds after which a worker is ended")] = pool.TIMEOUT_S,
    model: Annotated[
        str | None,
        typer.Option(
            help="a network of your own: package.module:factory, timm:NAME or torchvision:NAME; with --weights"
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="its weights: .safetensors, or a .pth of tensors")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="its classes: one name per line, in the order of the logits")
    ] = None,
    untrained: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="random weights and so many classes (1: depth) instead of --weights and --labels: to time it",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=8, max=2048, help="side of its input in pixels; by default its library's, or 224")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="3, or 1 for grey (repeated to 3); by default 3")] = None,
    resize: Annotated[
        str | None, typer.Option(help="stretch, or crop the centre square; by default as its library, or stretch")
    ] = None,
    crop_share: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1, help="of the centre square that a crop keeps, e.g. 0.875; by default as its library"
        ),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear or bicubic; by default as its library, or bilinear")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="of its input in [0, 1], e.g. 0.5,0.5,0.5; by default its library's, or ImageNet's"),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="of its input in [0, 1]; by default its library's, or ImageNet's")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="results as JSON on stdout")] = False,
) -> int:
    """Export a checkpoint, or a network of your own, to the formats and precisions asked for.

    Exit code 1 if an artifact could not be made, or lost more than its limits allow.
    """
    size_of_batch = plan.parse_batch(batch)
    pictures = PictureFolder.find(calibration_folder) if calibration_folder else None
    settings = Settings(
        parity_images=parity_images,
        calibration_images=calibration_images,
        seed=seed,
        folder_sha256=pictures.sha256 if pictures else None,
        recipe=read_recipe(recipe) if recipe else None,
        low_resolution=low_resolution,
    )
    if (checkpoint is None) == (model is None):
        raise UsageError("name either a checkpoint, or a network of your own with --model; see --help.")
    described = Described(size, channels, resize, crop_share, interpolation, mean, std)
    if model is None:
        refuse_description({"weights": weights, "labels": labels, "untrained": untrained, **asdict(described)})
        folder = checkpoints.find(checkpoint or Path())
    elif untrained is not None:
        refuse_trained(weights, labels)
        folder = bring_untrained(model, untrained, as_preprocess(model, described), name)
    else:
        folder = bring(model, weights, labels, as_preprocess(model, described), name)
    card = checkpoints.read_card(folder)
    if low_resolution and not TASKS[card.task].is_dense:
        raise UsageError(
            f"--low-resolution is for networks that answer for every pixel; this one is for {card.task}. Leave it out."
        )
    if temperature is not None:
        card = card.model_copy(update={"temperature": positive(temperature)})
    if data is not None and card.training is None:
        raise UsageError(f"--data {data}: the network was brought without data, so there are none to look for.")
    has_data = card.training is not None or pictures is not None
    planned = plan.plan(format, precision, batch=size_of_batch, has_data=has_data)
    refuse_unused(planned.targets, settings.recipe, pictures, has_training=card.training is not None)
    out = make_folder(out or DEFAULT_OUT / (name or run_name(folder)))
    show_skipped(planned)
    request = Request(folder, data, card, planned.targets, settings, pictures, out, allow_loss=allow_loss, force=force)
    jobs = jobs or pool.default_jobs()
    results = make(request, jobs=jobs, limits=pool.worker_limits(jobs, memory_gib, timeout))
    return report(results, card.model, out, as_json=as_json)


def report(results: list[Result], model: str, out: Path, *, as_json: bool) -> int:
    """Show what came of it, as a table or as JSON; the exit code."""
    if as_json:
        print(json.dumps([outcomes.as_record(result) for result in results], indent=2))
    else:
        title = f"{escape(model)} in {escape(str(out))}, judged on {outcomes.images_in_words(results)}"
        terminal.console.print(outcomes.table(title, results))
        if (hidden := outcomes.hidden_table(results)) is not None:
            terminal.console.print(hidden)
        for note in outcomes.shared_notes(results):
            terminal.say(f"[dim]of all:[/] {escape(note)}")
        for line in outcomes.judged_on_more(results):
            terminal.say(escape(line))
        for line in outcomes.works_instead(results):
            terminal.say(f"[dim]proven[/] {escape(line)}")
        show_next_step(results, out)
    return 0 if outcomes.all_well(results) else 1


def show_next_step(results: list[Result], out: Path) -> None:
    """The bench for what was made; where nothing was, how to find out why."""
    if any(result.outcome.status in ("made", "unchanged") for result in results):
        terminal.product(out, f"python -m bench {shlex.quote(str(out))} --device cpu")
        return
    log = results[0].outcome.task.log
    terminal.say(
        f"[bold]next:[/] nothing was made, so there is nothing to measure. Read why: {escape(str(log))}; the format "
        "eager runs whatever PyTorch runs"
    )


def bring(model: str, weights: Path | None, labels: Path | None, preprocess: Preprocess, name: str | None) -> Path:
    """Make a checkpoint of the user's own network and return its folder."""
    if weights is None or labels is None:
        raise UsageError("--model needs --weights FILE and --labels FILE (one class name per line).")
    from export.networks.brought import Brought, make_checkpoint

    folder = BROUGHT_OUT / (name or model.replace(":", "-").replace("/", "-"))
    make_checkpoint(Brought(model, weights, labels, preprocess), folder)
    terminal.say(f"{escape(model)} is a checkpoint: {escape(str(folder))}")
    return folder


def bring_untrained(model: str, num_classes: int, preprocess: Preprocess, name: str | None) -> Path:
    """Make a checkpoint of a network with random weights and return its folder."""
    from export.networks.untrained import make_untrained

    folder = BROUGHT_OUT / (name or f"{model.replace(':', '-').replace('/', '-')}-untrained")
    make_untrained(model, num_classes, preprocess, folder)
    terminal.say(f"{escape(model)} with random weights is a checkpoint: {escape(str(folder))}")
    return folder


def refuse_trained(weights: Path | None, labels: Path | None) -> None:
    """Raise UsageError if weights or labels are named beside --untrained."""
    if weights is not None or labels is not None:
        raise UsageError("--untrained takes random weights and numbered classes; leave out --weights and --labels.")


def make_folder(folder: Path) -> Path:
    """Make sure that artifacts can be written before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise WorkFailed(f"cannot write into {folder}: {error.strerror}. Choose another place with --out.") from error


def show_skipped(planned: Plan) -> None:
    """One line for each reason to leave something out."""
    reasons: dict[str, list[str]] = {}
    for pair, reason in planned.skipped:
        reasons.setdefault(reason, []).append(pair)
    for reason, pairs in reasons.items():
        terminal.say(f"[dim]left out:[/] {escape(', '.join(pairs))} ({escape(reason)})")


if __name__ == "__main__":
    terminal.run(app)
