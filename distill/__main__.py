"""python -m distill {run, config, report, tune, study, figures, data, evaluate, taps, hints, list}."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from distill import terminal
from distill.errors import UsageError, WorkFailed
from distill.system import wait_briefly
from distill.vision.tasks import TASKS

if TYPE_CHECKING:
    from distill.checkpoint import AnyMetrics, Card, Checkpoint, Judgement
    from distill.config import RunConfig
    from distill.evaluation.clips import Quality
    from distill.training.batches import Batches
    from distill.vision.models.listing import Listed

app = typer.Typer(help="Train small students from a large teacher.", no_args_is_help=True, add_completion=False)

RUNS = Path("out/runs")
STUDIES = Path("out/studies")
DATA_PAGES = Path("out/data")
HINTS = Path("out/hints")
SEARCHES = Path("out/tune")
MEASUREMENTS = Path("out/measurements.jsonl")
UNFINISHED_SHOWN = 6
CLASSES_SHOWN = 20
TRIALS_SHOWN = 10


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
    stop_after: Annotated[
        int | None, typer.Option(min=1, help="Stand still when the run has so many epochs; --resume goes on.")
    ] = None,
    allow_weak_teacher: Annotated[
        bool, typer.Option("--allow-weak-teacher", help="Learn from a guest that is no better than chance.")
    ] = False,
    log: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Write figures of every epoch and a batch's images into RUN/tensorboard, too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card instead of the path.")] = False,
) -> None:
    """Train what RECIPE says; the product is the checkpoint in RUN/best."""
    from distill.config import with_overrides
    from distill.run_folder import PAGE_FILE
    from distill.train import train

    changes = [*(assignments or []), *([] if seed is None else [f"seed={seed}"])]
    allowed = ["allow_weak_teacher=true"] if allow_weak_teacher else []
    config = with_overrides(_load_config(recipe), [*changes, *allowed])
    name = config.folder_name() if changes else config.name
    path = out or RUNS / name
    if resume and restart:
        raise UsageError("--resume continues a run, --restart replaces it; give one of them.")
    card = train(config, path, resume=resume, restart=restart, log=log, stop_after=stop_after)
    assert card.training is not None
    _show_end(card, path)
    if as_json:
        terminal.answer(card.to_json())
    elif not card.training.finished:
        more = ["--stop-after", stop_after * 2] if stop_after is not None else []
        again = terminal.command("python", "-m", "distill", "run", path, "--out", path, "--resume", *more)
        terminal.product(path, again)
    else:
        if (path / PAGE_FILE).is_file():
            terminal.say(f"[bold]page:[/] {_open_page(path / PAGE_FILE)}")
        terminal.product(path, _export_command(path))


@app.command()
def config(
    recipe: Annotated[str, typer.Argument(help="A recipe (see list), a config.json, or a run folder.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as for run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it here, to run it later.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With identity and preprocessing, as one JSON document.")
    ] = False,
) -> None:
    """Show every setting of a run without starting it; what `run` would refuse is refused."""
    from distill.config import with_overrides
    from distill.contract import write_whole

    settled = with_overrides(_load_config(recipe), assignments or [])
    text = settled.model_dump_json(indent=2)
    if out is not None:
        write_whole(out, f"{text}\n".encode())
    if as_json:
        preprocess = settled.preprocess.model_dump(mode="json")
        facts = {"config": json.loads(text), "preprocess": preprocess, "identity": settled.identity()}
        terminal.answer(json.dumps(facts, indent=2))
    elif out is not None:
        terminal.product(out, terminal.command("python", "-m", "distill", "run", out))
    else:
        terminal.answer(text)


@app.command()
def report(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    data: Annotated[
        Path | None, typer.Option(help="Where its data lie now, if they were moved; they must be the same pictures.")
    ] = None,
) -> None:
    """Write the page of a finished run anew: curves, recall of every class, the worst mistakes."""
    from distill.run_page.page import rebuild

    page = rebuild(path, data)
    terminal.product(page, _open_page(page))


@app.command()
def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe (see list), a config.json, or a run folder.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=RANGE",
            help="What to search: KEY=log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B; may be repeated.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many settings to try, in all sessions together.")] = 30,
    epochs_per_trial: Annotated[
        int | None,
        typer.Option(min=1, help="Length of a trial; steps of the rate move along.", show_default="the run's"),
    ] = None,
    held_back: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the training images that trials are judged on.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of what is tried; the runs' own is --set seed=N.")] = 0,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of every trial.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the search.", show_default="out/tune/NAME")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all trials instead of the path.")] = False,
) -> None:
    """Search for settings with Optuna, judged on training images held back, never on the validation images.

    The same command goes on where it was stopped or killed; started several times, its trials are shared out.
    """
    from distill.config import with_overrides
    from distill.figures.gallery import write_drawing
    from distill.run_folder import CONFIG_FILE
    from distill.tuning import picture, search, table
    from distill.tuning.varied import parse

    config = with_overrides(_load_config(recipe), assignments or [])
    varied = parse(vary or [], config, epochs_per_trial=epochs_per_trial)
    prepared = search.prepare(config, varied, epochs=epochs_per_trial, held_back=held_back, seed=seed)
    name = config.folder_name() if assignments else config.name
    path = out or SEARCHES / name
    ended = search.tune(prepared, path, trials)
    table.write_tables(path, prepared, ended)
    write_drawing(path, picture.draw(prepared, ended))
    rows = [tuple(map(escape, row)) for row in table.rows(prepared, ended)]
    title = (
        f"{path}: the best {TRIALS_SHOWN} of {len(rows)} trials" if len(rows) > TRIALS_SHOWN else f"trials of {path}"
    )
    terminal.console.print(terminal.table(escape(title), table.head(prepared), rows[:TRIALS_SHOWN]))
    for remark in table.remarks(prepared, ended):
        terminal.say(escape(remark))
    files = f"{path / table.MARKDOWN_FILE}, {path / table.CSV_FILE} and {path / picture.NAME}.png"
    terminal.say(escape(f"all trials: {files}"))
    if as_json:
        best = search.best_trial(ended)
        assert best is not None
        facts = {"folder": str(path), "best": best.number, "trials": [asdict(trial) for trial in ended]}
        terminal.answer(json.dumps(facts))
        return
    product = path / CONFIG_FILE
    terminal.product(product, terminal.command("python", "-m", "distill", "run", product))


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A study (see list).")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of every cell.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeats of every cell.")] = 5,
    students: Annotated[
        str | None,
        typer.Option(help="Networks, e.g. resnet18,timm:NAME.", show_default="the study's"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: Ray tasks (extra `ray`), here or on a cluster.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="local: runs at once; each gets its share of the cores.", show_default="1"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="ray: HOST:PORT of a cluster; its nodes must share the study's folder.",
            show_default="this machine alone",
        ),
    ] = None,
    cpus_per_cell: Annotated[
        int | None, typer.Option(min=1, help="ray: processor cores of a run.", show_default="1")
    ] = None,
    gpus_per_cell: Annotated[
        float | None,
        typer.Option(
            min=0, help="ray: GPUs of a run; 0.25 shares one among four.", show_default="1 where there are any"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder.", show_default="out/studies/STUDY")] = None,
) -> None:
    """Run a grid of runs with repeats; finished cells are kept, so the same command goes on where it was."""
    from distill.config import with_overrides
    from distill.engines import Options
    from distill.studies import study_recipe
    from distill.study.comparison import compare
    from distill.study.run import CELLS, run_study
    from distill.study.table import MARKDOWN_FILE, OPTIONAL, narrow_head, narrow_tables, write_tables

    recipe = study_recipe(name)
    base = with_overrides(recipe.base(), assignments or [])
    networks = students.split(",") if students else list(recipe.students)
    if students:
        from distill.vision.models import builder  # takes seconds

        for network in networks:
            builder(network)
    grid = recipe.grid(name, base, networks, seeds)
    path = out or STUDIES / name
    options = Options(jobs=jobs, address=address, cpus_per_cell=cpus_per_cell, gpus_per_cell=gpus_per_cell)
    results = run_study(grid, path, engine=engine, options=options)
    lines = compare(results, baseline=grid.baseline)
    write_tables(path, name, lines, results)
    for student, rows in narrow_tables(lines):
        table = terminal.table(escape(f"{name}: {student}"), narrow_head(lines), rows, optional=OPTIONAL)
        terminal.console.print(table)
    failed = sum(result.card is None for result in results)
    if failed:
        raise WorkFailed(
            f"{failed} of {len(results)} cells failed; {path / MARKDOWN_FILE} names each with its log. "
            "The others are kept; the same command tries the failed ones again."
        )
    next_step = terminal.command("python", "-m", "distill", "figures", path)
    if base.task.is_dense:  # the figures are of papers on classifiers
        pages = escape(str(path / CELLS / "*" / "report.html"))
        next_step = f"read the table, {escape(str(path / MARKDOWN_FILE))}; every run has its page, {pages}"
    terminal.product(path / MARKDOWN_FILE, next_step)


@app.command()
def figures(
    path: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder, or the name of one in out/studies.")],
    out: Annotated[Path | None, typer.Option(help="Where the pictures go.", show_default="STUDY/figures")] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(help="bench's journal, for speed and bytes.", show_default=f"{MEASUREMENTS} if it is there"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures.json instead of the path.")] = False,
) -> None:
    """Draw the papers' figures of a study, as PNG and SVG, from what is finished of it."""
    from distill.figures.boards import write_boards
    from distill.figures.draw import draw_study
    from distill.figures.gallery import INDEX_FILE
    from distill.figures.journal import read_times
    from distill.figures.runs import read_study

    runs = read_study(path if path.exists() else STUDIES / path)
    journal = measurements or (MEASUREMENTS if MEASUREMENTS.is_file() else None)
    times = read_times(journal) if journal else ()
    folder = out or runs.folder / "figures"
    tables = write_boards(runs, times, folder)
    entries, left_out = draw_study(runs, times, folder)
    rows = [(escape(entry.name), escape(entry.title)) for entry in entries]
    terminal.console.print(terminal.table(escape(f"figures of {runs.name} in {folder}"), ["figure", "shows"], rows))
    for table in tables:
        terminal.say(escape(f"{table.title}: {folder / table.name}.md and .csv"))
    for missing in left_out:
        terminal.say(escape(f"left out: {missing.name}: {missing.reason}"))
    if runs.unfinished:
        total = len(runs.unfinished) + len(runs.repeats)
        few = [*runs.unfinished[:UNFINISHED_SHOWN], *(["…"] if len(runs.unfinished) > UNFINISHED_SHOWN else [])]
        terminal.say(
            f"[yellow]{len(runs.unfinished)} of {total} cells are not finished and in no figure:[/] "
            f"{escape('; '.join(few))}. Go on with: "
            f"{terminal.command('python', '-m', 'distill', 'study', runs.name, '--out', runs.folder)}"
        )
    if as_json:
        terminal.answer((folder / INDEX_FILE).read_text("utf-8").rstrip())
    else:
        terminal.product(folder / INDEX_FILE, terminal.command("python", "-m", "bench", "report", "--figures", folder))


@app.command()
def data(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder of pictures or DICOM files, as dataset.path takes it.")
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As for run, e.g. dataset.split_by=patient."),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Ask this run's teacher (or the run itself) which labels it doubts."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page.", show_default="out/data/NAME.html")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead of the path.")] = False,
) -> None:
    """Show what a folder of pictures holds, before anyone trains on it: counts, duplicates, what cannot be read."""
    from distill.config import with_overrides
    from distill.data_page.page import findings, summary, write_page
    from distill.data_page.survey import look_at
    from distill.data_page.suspects import find_suspects
    from distill.recipes import folder_scratch
    from distill.vision.datasets.dicom import Dicom, holds_dicom
    from distill.vision.datasets.image_folder import ImageFolder

    kind = ["dataset.kind=dicom"] if holds_dicom(path) else []
    changes = [*kind, f"dataset.path={json.dumps(str(path))}", *(assignments or [])]
    config = with_overrides(folder_scratch(), changes).dataset
    if not isinstance(config, ImageFolder | Dicom):
        raise UsageError(f"there are no picture files in a data set of the kind {config.kind}; leave dataset.kind out.")
    doubts = None if suspects is None else find_suspects(suspects, config)
    survey = look_at(config)
    rows = [
        (escape(name), *(f"{survey.count(split, label):,}" for split in survey.splits))
        for label, name in enumerate(survey.class_names)
    ]
    terminal.console.print(terminal.table(escape(f"pictures of {path}"), ["class", *survey.splits], rows))
    style = {"bad": "red", "warn": "yellow", "good": "green"}
    for finding in findings(survey):
        terminal.say(f"[{style[finding.grade]}]{escape(finding.sentence)}[/]")
    for unreadable in survey.unreadable:
        terminal.say(escape(f"{unreadable.file}: {unreadable.reason}"))
    if doubts is not None:
        terminal.say(
            f"{len(doubts.suspects)} labels are doubted by {escape(doubts.judge)}; the page shows the pictures"
        )
    page = out or DATA_PAGES / f"{path.resolve().name}.html"
    write_page(survey, page, doubts)
    if as_json:
        terminal.answer(json.dumps(summary(survey, doubts), indent=2))
    else:
        terminal.product(page, _open_page(page))


@app.command(name="evaluate")
def evaluate_(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a checkpoint folder.")],
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Fit a temperature and save the calibrated checkpoint in RUN/calibrated."),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Where its data lie now, if they were moved; they must be the same pictures.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the metrics as JSON; with --calibrate folder, temperature, before, after."),
    ] = False,
) -> None:
    """Measure a checkpoint on its validation images again: per image and, of cine loops, per frame and per clip."""
    from distill import checkpoint
    from distill.evaluation.clips import qualities
    from distill.evaluation.evaluate import predict
    from distill.training.batches import Batches

    if calibrate:
        _calibrate(path, data, as_json=as_json)
        return
    loaded = checkpoint.load(path, data)
    training = loaded.card.training
    if training is None:
        raise UsageError(f"{path} was brought without data, so there is nothing to measure it on.")
    split = loaded.split("validation")
    device = next(loaded.model.parameters()).device
    batches = Batches(split, batch_size=256, device=device)
    title = f"{path} on its validation images"
    if split.truth is not None:
        _evaluate_pixels(loaded, Batches(split, batch_size=32, device=device), title, as_json=as_json)
        return
    by_unit = qualities(predict(loaded.model, batches), split, epoch=training.epoch)
    whole = by_unit[0]
    if len(by_unit) == 1:
        _show([(f"epoch {training.epoch}", whole.metrics)], title)
    else:
        _show([(f"epoch {training.epoch}, {each.count:,} {each.unit}", each.metrics) for each in by_unit], title)
    for each in by_unit:
        if each.accuracy_interval is not None:
            low, high = (100 * bound for bound in each.accuracy_interval)
            terminal.say(
                f"accuracy over {each.unit}: {low:.1f} to {high:.1f} % with 95 % confidence, by the spread over "
                f"{each.patients:,} patients"
            )
    if as_json:
        terminal.answer(json.dumps(_facts(whole) | ({"clips": _facts(by_unit[1])} if len(by_unit) > 1 else {})))


def _evaluate_pixels(loaded: "Checkpoint", batches: "Batches", title: str, *, as_json: bool) -> None:
    from distill.evaluation.dense import judge

    training = loaded.card.training
    assert training is not None
    judgement = judge(loaded.model, batches, epoch=training.epoch)
    _show([(f"epoch {training.epoch}", judgement.metrics)], title)
    if judgement.images:
        _show_classes(loaded.card, [judgement])
    if as_json:
        terminal.answer(json.dumps(judgement.metrics.model_dump(mode="json")))


@app.command()
def taps(
    model: Annotated[str, typer.Argument(help="A network (see list), timm:NAME, torchvision:NAME or python:….")],
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the places as JSON.")] = False,
) -> None:
    """List every place of MODEL that a method can read, in the order of a forward pass."""
    from distill.vision.models import builder
    from distill.vision.models.walk import walk

    places = walk(builder(model, size_px=size)(10), size_px=size).places()
    if as_json:
        terminal.answer(json.dumps([asdict(place) for place in places]))
        return
    rows = [
        (
            escape(place.path),
            " × ".join(str(side) for side in place.shape),
            {"pre": "before", "post": "after", None: ""}[place.activation],
            escape(", ".join(place.names)),
        )
        for place in places
    ]
    head = ["place", f"shape at {size} px", "activation", "also called"]
    terminal.console.print(terminal.table(escape(f"places of {model} to tap"), head, rows))
    terminal.say("PLACE:input is what goes into a module, PLACE:pre what lies before the activation behind a place")


@app.command()
def hints(
    teacher: Annotated[
        str, typer.Argument(help="A run or checkpoint folder, or a recipe or config.json whose teacher is meant.")
    ],
    metric: Annotated[Literal["cka", "cca", "gcd", "cka-rbf"], typer.Option(help="How alike two blocks are.")] = "cka",
    clusters: Annotated[int, typer.Option(min=1, help="How many; each gives one hint.")] = 3,
    images: Annotated[int, typer.Option(min=2, help="Training images to compare blocks over, at most.")] = 10_000,
    activation: Annotated[
        Literal["pre", "post"], typer.Option(help="Read blocks before or after their last activation.")
    ] = "post",
    contiguous: Annotated[
        bool, typer.Option("--contiguous", help="The best division into stretches, instead of k-means.")
    ] = False,
    position: Annotated[
        Literal["centre", "last"], typer.Option(help="Which block of a cluster is its hint.")
    ] = "centre",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of a recipe, e.g. teacher.kind=library, dataset.path=DIR."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where a checkpoint's data lie now, if they were moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="The hints.", show_default="out/hints/NAME.json")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hints instead of the path.")] = False,
) -> None:
    """Find where to take hints from TEACHER: its blocks clustered by what they compute (PURSUhInT)."""
    import torch

    from distill.config import with_overrides
    from distill.figures.gallery import write_pictures
    from distill.hints.guests import of_checkpoint, of_config
    from distill.hints.options import HintSearch
    from distill.hints.picture import draw
    from distill.hints.record import listed
    from distill.hints.search import remarks, search

    if Path(teacher).is_dir() and assignments:
        raise UsageError(f"{teacher} has its data and its settings; --set is for a recipe or a config.json.")
    if Path(teacher).is_dir():
        searched = of_checkpoint(Path(teacher), data)
    else:
        searched = of_config(with_overrides(_load_config(teacher), assignments or []))
    options = HintSearch(
        metric=metric,
        clusters=clusters,
        images=images,
        activation=activation,
        contiguous=contiguous,
        position=position,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    record = search(searched, options, device)
    path = out or HINTS / f"{Path(teacher).name.removesuffix('.json')}.json"
    write_pictures(path.parent, draw(record, path.stem))
    record.write(path)
    rows = [
        (str(number), escape(listed(cluster.blocks)), escape(point), escape(record.blocks[cluster.hint - 1].place))
        for number, (cluster, point) in enumerate(zip(record.clusters, record.points, strict=True), start=1)
    ]
    terminal.console.print(
        terminal.table(escape(f"hints of {record.teacher}"), ["cluster", "blocks", "hint", "place"], rows)
    )
    terminal.say(f"by {metric}, {activation}-activation, over {record.data.num_images:,} training images")
    for remark in remarks(record):
        terminal.say(escape(remark))
    terminal.say(escape(f"the picture is in {path.with_suffix('.png')} and {path.with_suffix('.svg')}"))
    if as_json:
        terminal.answer(record.to_json())
        return
    terminal.product(
        path, terminal.command("python", "-m", "distill", "run", "RECIPE", "--set", f"method.hints={path}")
    )


@app.command(name="list")
def list_(
    models: Annotated[
        bool, typer.Option("--models", help="Only the networks: what they cost and which formats are proven.")
    ] = False,
    size: Annotated[int, typer.Option(min=8, max=2048, help="Side of the pictures in pixels, with --models.")] = 224,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, with every setting's schema.")] = False,
) -> None:
    """Show the recipes, methods (by family), models and data sets there are."""
    if models:
        _list_models(size, as_json=as_json)
        return
    from distill.config import RunConfig
    from distill.methods import METHODS
    from distill.recipes import RECIPES
    from distill.studies import STUDIES as KNOWN_STUDIES
    from distill.vision.datasets import DATASETS
    from distill.vision.models import MODELS, dense

    if as_json:
        families = {name: config.family for name, config in METHODS.items()}
        names = {
            "recipes": list(RECIPES),
            "models": [*MODELS, *dense.NETWORKS],
            "datasets": list(DATASETS),
            "methods": families,
        }
        print(json.dumps({**names, "config_schema": RunConfig.model_json_schema()}, indent=2))
        return
    rows = [("recipe", name, _first_sentence(make)) for name, make in RECIPES.items()]
    rows += [("study", name, _first_sentence(recipe.grid)) for name, recipe in KNOWN_STUDIES.items()]
    families = dict.fromkeys(config.family for config in METHODS.values())
    rows += [
        (f"method: {family}", name, _first_sentence(config))
        for family in families
        for name, config in METHODS.items()
        if config.family == family
    ]
    rows += [("data set", name, _first_sentence(kind)) for name, kind in DATASETS.items()]
    rows += [("model", name, _first_sentence(make)) for name, make in MODELS.items()]
    rows += [("model for masks, depth", name, _first_sentence(make)) for name, make in dense.NETWORKS.items()]
    rows += [
        ("model", "timm:NAME", "Any timm classifier."),
        ("model", "torchvision:NAME", "Any torchvision classifier."),
        ("model", "smp:ARCHITECTURE:ENCODER", "Any network of segmentation_models_pytorch, for masks and depth."),
    ]
    terminal.console.print(terminal.table("what there is", ["what", "name", "in a sentence"], rows))


def _list_models(size_px: int, *, as_json: bool) -> None:
    from dataclasses import asdict

    from distill.vision.models import MODELS
    from distill.vision.models.listing import NUM_CLASSES, SHORT_IN_WORDS, listed

    found: list[Listed] = []
    with terminal.progress(unit="networks") as display:
        bar = display.add_task("counting", total=len(MODELS), note="")
        for network in listed(size_px):
            found.append(network)
            display.advance(bar)
    if as_json:
        kept = [network.proven.model_dump(mode="json") if network.proven else None for network in found]
        entries = [{**asdict(network), "proven": proven} for network, proven in zip(found, kept, strict=True)]
        print(json.dumps(entries, indent=2))
        return
    rows = [
        (
            network.name + (" *" if network.folded else ""),
            f"{network.parameters / 1e6:.2f}" if network.parameters else "–",
            f"{network.macs / 1e6:,.0f}" if network.macs else "too small",
            escape(network.licence.removesuffix("-license")) or "–",
            network.proven_in_words,
        )
        for network in found
    ]
    columns = ["network", "parameters M", "MACs M", "licence", "fp32 proven in"]
    title = f"networks for pictures of {size_px} px with {NUM_CLASSES} classes, as they are deployed"
    table = terminal.table(title, columns, rows)
    table.columns[0].no_wrap = True
    terminal.console.print(table)
    terminal.say(
        f"* trained with branches that are folded when it is exported. Licence: of published weights. {SHORT_IN_WORDS}"
    )
    terminal.say("[bold]next:[/] python -m distill run demo --set model=NAME")


def _facts(quality: "Quality") -> dict[str, Any]:
    """Metrics of one unit for programs; where patients are known, how many there are and the interval over them."""
    facts = quality.metrics.model_dump(mode="json")
    if quality.patients is None:
        return facts
    more = {"count": quality.count, "patients": quality.patients, "accuracy_interval": quality.accuracy_interval}
    return {**facts, **more}


def _calibrate(path: Path, data: Path | None, *, as_json: bool) -> None:
    from distill.evaluation.calibration import calibrate

    folder, scaling = calibrate(path, data)
    terminal.say(f"temperature {scaling.temperature:.3f}, fitted on one half of the validation images")
    _show(
        [("before", scaling.before), (f"logits / {scaling.temperature:.3f}", scaling.after)],
        f"{path} on its validation images",
    )
    terminal.say("measured on the other half; no patient is in both where patients are known")
    if as_json:
        before, after = (metrics.model_dump(mode="json") for metrics in (scaling.before, scaling.after))
        facts = {"folder": str(folder), "temperature": scaling.temperature, "before": before, "after": after}
        terminal.answer(json.dumps(facts))
        return
    terminal.product(folder, _export_command(folder))


def _open_page(page: Path) -> str:
    return f"open {escape(shlex.quote(str(page)))} in a browser; it is one file"


def _export_command(path: Path) -> str:
    return terminal.command("python", "-m", "export", path, "--format", "all", "--precision", "fp32,int8")


def _load_config(recipe: str) -> "RunConfig":
    from distill.config import read
    from distill.recipes import recipe as named
    from distill.run_folder import CONFIG_FILE

    path = Path(recipe)
    file = path / CONFIG_FILE if path.is_dir() else path
    return read(file) if file.is_file() else named(recipe)


def _show_end(card: "Card", path: Path) -> None:
    """What a run ends with: its figures, and which classes it does not know."""
    training = card.training
    assert training is not None
    rows = [(f"best, epoch {training.best.epoch}", training.best), ("last", training.last)]
    rows += [(f"test, epoch {training.test.metrics.epoch}", training.test.metrics)] if training.test else []
    _show(rows, f"{path} on its validation images{' and, once, on its test images' if training.test else ''}")
    judgements = [each for each in (training.validation, training.test) if each is not None and each.images]
    if judgements:
        _show_classes(card, judgements)


def _show_classes(card: "Card", judgements: "list[Judgement]") -> None:
    """How often each class is found; of masks also its intersection over union."""
    what = "pixels" if TASKS[card.task].is_dense else "images"
    tests = [f"test {what}"] if len(judgements) > 1 else []
    columns = ["class", "recall", what, "most often taken for", *["test recall"] * bool(tests), *tests]
    of_classes = getattr(judgements[0].metrics, "class_iou", None)
    labels = judgements[0].weakest_first()
    if of_classes is not None:
        columns.insert(1, "IoU")
        labels = sorted(labels, key=lambda label: (of_classes[label] is None, of_classes[label] or 0.0))
    cells = [
        (
            escape(card.class_names[label]),
            *([] if of_classes is None else [_percent(of_classes[label])]),
            *_of_class(judgements, card.class_names, label),
        )
        for label in labels[:CLASSES_SHOWN]
    ]
    left = f"; the {CLASSES_SHOWN} weakest of {len(labels)} classes" if len(labels) > CLASSES_SHOWN else ""
    terminal.console.print(terminal.table(f"class by class, best epoch, validation images{left}", columns, cells))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _of_class(judgements: "list[Judgement]", class_names: tuple[str, ...], label: int) -> list[str]:
    cells: list[str] = []
    for judgement in judgements:
        cells += [_percent(judgement.recall(label)), f"{judgement.images[label]:,}"]
        if judgement is judgements[0]:
            taken_for = judgement.taken_for(label)
            cells.append("" if taken_for is None else escape(f"{class_names[taken_for[0]]} ({taken_for[1]:,})"))
    return cells


def _show(rows: "list[tuple[str, AnyMetrics]]", title: str) -> None:
    cells = [(name, *metrics.figures().values()) for name, metrics in rows]
    columns = ["epoch", *rows[0][1].figures()]
    terminal.console.print(terminal.table(escape(title), columns, cells))


def _first_sentence(documented: object) -> str:
    return (documented.__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    wait_briefly()
    terminal.run(app)
