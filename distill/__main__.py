"""python -m distill {run, study, evaluate, list}."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill import terminal
from distill.errors import UsageError, WorkFailed

if TYPE_CHECKING:
    from distill.checkpoint import Metrics
    from distill.config import RunConfig

app = typer.Typer(help="Train small students from a large teacher.", no_args_is_help=True, add_completion=False)

RUNS = Path("out/runs")
STUDIES = Path("out/studies")


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe (see list), a config.json, or a run folder.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. training.epochs=5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder [default: out/runs/NAME].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished run.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Replace what the run folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card instead of the path.")] = False,
) -> None:
    """Train what RECIPE says; the product is the checkpoint in RUN/best."""
    from distill.config import with_overrides
    from distill.train import train

    changes = [*(assignments or []), *([] if seed is None else [f"seed={seed}"])]
    config = with_overrides(_load_config(recipe), changes)
    name = f"{config.name}-{config.identity()[:8]}" if changes else config.name
    path = out or RUNS / name
    if resume and restart:
        raise UsageError("--resume continues a run, --restart replaces it; give one of them.")
    card = train(config, path, resume=resume, restart=restart)
    assert card.training is not None
    _show([(f"best, epoch {card.training.best.epoch}", card.training.best), ("last", card.training.last)], path)
    if as_json:
        print(card.to_json())
    else:
        terminal.product(path, f"python -m export {path} --format all --precision fp32,int8")


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A study (see list).")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of every cell.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeats of every cell.")] = 5,
    students: Annotated[
        str | None, typer.Option(help="Networks, e.g. resnet18,timm:NAME [default: the study's].")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once; each gets its share of the cores.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Study folder [default: out/studies/STUDY].")] = None,
) -> None:
    """Run a grid of runs with repeats; finished cells are kept, so the same command goes on where it was."""
    from distill.comparison import compare
    from distill.config import with_overrides
    from distill.studies import study_recipe
    from distill.study import run_study
    from distill.study_table import HEAD, MARKDOWN_FILE, cells_of, write_tables
    from distill.vision.models import builder

    recipe = study_recipe(name)
    base = with_overrides(recipe.base(), assignments or [])
    networks = students.split(",") if students else list(recipe.students)
    for network in networks:
        builder(network)
    grid = recipe.grid(name, base, networks, seeds)
    path = out or STUDIES / name
    results = run_study(grid, path, jobs=jobs)
    lines = compare(results, baseline=grid.baseline)
    write_tables(path, name, grid.baseline, lines, results)
    terminal.console.print(terminal.table(name, HEAD, [cells_of(line) for line in lines]))
    failed = sum(result.card is None for result in results)
    if failed:
        raise WorkFailed(
            f"{failed} of {len(results)} cells failed; {path / MARKDOWN_FILE} names each with its log. "
            "The others are kept; the same command tries the failed ones again."
        )
    terminal.product(path / MARKDOWN_FILE, f"read {path / MARKDOWN_FILE}; table.csv beside it is for programs")


@app.command(name="evaluate")
def evaluate_(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a checkpoint folder.")],
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Fit a temperature and save the calibrated checkpoint in RUN/calibrated."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Measure a checkpoint on its validation images again."""
    from distill import checkpoint
    from distill.batches import Batches
    from distill.evaluate import evaluate

    if calibrate:
        _calibrate(path)
        return
    loaded = checkpoint.load(path)
    training = loaded.card.training
    if training is None:
        raise UsageError(f"{path} was brought without data, so there is nothing to measure it on.")
    split = training.data.config.load("validation", loaded.card.preprocess)
    if split.sha256() != training.data.validation_sha256:
        terminal.console.print("[yellow]the validation images are not the ones this network was validated on[/]")
    device = next(loaded.model.parameters()).device
    batches = Batches(split, batch_size=256, device=device)
    found = evaluate(loaded.model, batches, epoch=training.epoch)
    _show([(f"epoch {training.epoch}", found)], path)
    if as_json:
        print(found.model_dump_json())


@app.command(name="list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, with every setting's schema.")] = False,
) -> None:
    """Show the recipes, methods, models and data sets there are."""
    from distill.config import RunConfig
    from distill.methods import METHODS
    from distill.recipes import RECIPES
    from distill.studies import STUDIES as KNOWN_STUDIES
    from distill.vision.datasets import DATASETS
    from distill.vision.models import MODELS

    if as_json:
        names = {"recipes": list(RECIPES), "models": list(MODELS), "datasets": list(DATASETS)}
        print(json.dumps({**names, "config_schema": RunConfig.model_json_schema()}, indent=2))
        return
    rows = [("recipe", name, _first_sentence(make)) for name, make in RECIPES.items()]
    rows += [("study", name, _first_sentence(recipe.grid)) for name, recipe in KNOWN_STUDIES.items()]
    rows += [("method", name, _first_sentence(config)) for name, config in METHODS.items()]
    rows += [("data set", name, _first_sentence(kind)) for name, kind in DATASETS.items()]
    rows += [("model", name, _first_sentence(make)) for name, make in MODELS.items()]
    rows += [
        ("model", "timm:NAME", "Any timm classifier."),
        ("model", "torchvision:NAME", "Any torchvision classifier."),
    ]
    terminal.console.print(terminal.table("what there is", ["what", "name", "in a sentence"], rows))


def _calibrate(path: Path) -> None:
    from distill.calibration import calibrate

    folder, found = calibrate(path)
    terminal.say(f"temperature {found.temperature:.3f}, fitted on one half of the validation images")
    _show([("before", found.before), (f"logits / {found.temperature:.3f}", found.after)], path)
    terminal.say("measured on the other half; no patient is in both where patients are known")
    terminal.product(folder, f"python -m export {folder} --format all --precision fp32,int8")


def _load_config(recipe: str) -> "RunConfig":
    from distill.config import parse
    from distill.recipes import recipe as named
    from distill.run_folder import CONFIG_FILE

    path = Path(recipe)
    file = path / CONFIG_FILE if path.is_dir() else path
    return parse(file.read_bytes(), source=str(file)) if file.is_file() else named(recipe)


def _show(rows: "list[tuple[str, Metrics]]", path: Path) -> None:
    cells = [
        (
            name,
            f"{100 * found.accuracy:.2f} %",
            f"{found.macro_f1:.3f}",
            f"{found.ece:.3f}",
            f"{found.entropy_nats:.3f}",
            f"{found.loss:.3f}",
        )
        for name, found in rows
    ]
    columns = ["epoch", "accuracy", "macro F1", "ECE", "entropy (nats)", "loss"]
    terminal.console.print(terminal.table(f"{path} on its validation images", columns, cells))


def _first_sentence(documented: object) -> str:
    return (documented.__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    terminal.run(app)
