"""`python -m android_demo ship`: read `loop` from top to bottom."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from android_demo.ship import answer as words
from android_demo.ship.app import build, bundle
from android_demo.ship.estimates import parts, reserve_s
from android_demo.ship.exporting import export_student, export_teacher
from android_demo.ship.ground import Ground, examine, find_device, usual_students
from android_demo.ship.measuring import choose, measure, measure_warm, on_device
from android_demo.ship.page import PAGE_FILE, write_page
from android_demo.ship.question import Budget, DeviceName, LatencyName, Question, in_words, listed, seconds_of
from android_demo.ship.record import SHIP_FILE, Choice, Done, Exported, OnDevice, Ship, Trained
from android_demo.ship.screening import kept_forms, screen
from android_demo.ship.steps import Steps, alone_in
from android_demo.ship.training import train, train_teacher
from distill.contract import write_whole
from distill.errors import UsageError
from distill.terminal import answer, console, product, say, table
from distill.version import toolkit_version
from distill.vision.tasks import TASKS

OUT = Path("out/ship")
FORMATS = "onnx,executorch,litert"
PRECISIONS = "fp32,int8"
QUESTION_FILE = "question.json"


def ship(
    data: Annotated[
        Path | None,
        typer.Option(help="Pictures, as `distill data` takes them.", show_default="the teacher's, or the phantom"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A run or checkpoint folder.", show_default="the demo's, or one is trained")
    ] = None,
    max_latency_ms: Annotated[float, typer.Option(min=0, help="Per call; the upper end of the interval counts.")] = 5.0,
    min_relative_accuracy: Annotated[
        float | None, typer.Option(min=0, help="Share of the teacher's accuracy, e.g. 0.98; the lower end counts.")
    ] = None,
    max_size_mb: Annotated[float | None, typer.Option(min=0, help="Of the model on disk, 10^6 bytes.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(min=0, help="Peak of the process, 10^6 bytes.")] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu (this machine) or android.", show_default="android with a phone on adb, else cpu"),
    ] = None,
    time: Annotated[str, typer.Option(help="For everything together, e.g. 2h; training is fitted into it.")] = "1h",
    epochs: Annotated[int, typer.Option(min=1, help="Length of a finalist's training; less if time is short.")] = 24,
    students: Annotated[
        str | None,
        typer.Option(
            help="Networks, as python -m distill list names them.", show_default="mobile ones of the teacher's task"
        ),
    ] = None,
    formats: Annotated[str, typer.Option(help="Those that the app can run.")] = FORMATS,
    precisions: Annotated[str, typer.Option(help="As python -m export formats names them.")] = PRECISIONS,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    launches: Annotated[int, typer.Option(min=1, help="Processes per row; 5 to tell 5 % apart.")] = 3,
    serials: Annotated[
        list[str] | None,
        typer.Option("--serial", help="Phones: which; several share one model.", show_default="the only one"),
    ] = None,
    latency: Annotated[
        LatencyName | None,
        typer.Option(
            help="What counts: the model's call, or the pipeline from picture to answer.",
            show_default="pipeline on phones",
        ),
    ] = None,
    sustained: Annotated[
        str | None, typer.Option(help="Phones: run each so long without a pause, e.g. 10m; then the warm phone counts.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Phones: held-out pictures that each model answers there.")
    ] = 200,
    repeats: Annotated[int, typer.Option(min=1, help="Phones: calls with one input, to see that outputs agree.")] = 20,
    install: Annotated[bool, typer.Option("--install", help="Phones: put the app there and try a picture.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for distill run, for every student.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Everything that is made; the same command goes on there.")] = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="ship.json on stdout instead of the page's path.")] = False,
) -> int:
    """From this teacher, this data, this device and this budget to the model that goes out, with a decision on record.

    Untrained students are timed; those that may keep the budget are trained by successive halving inside the time
    given, the finalists exported, measured and chosen from. Stopped or killed, the same command goes on; finished work
    is not repeated, also under another budget.

    Exit code 1 if nothing is shown to fit; then the page says what stands in the way.
    """
    named, reason = _device("android" if device is None and serials else device)
    question = Question(
        data=None if data is None else str(data),
        teacher=None if teacher is None else str(teacher),
        device=named,
        budget=Budget(
            max_latency_ms=max_latency_ms,
            max_size_mb=max_size_mb,
            min_relative_accuracy=min_relative_accuracy,
            max_memory_mb=max_memory_mb,
        ),
        time_s=seconds_of(time),
        epochs=epochs,
        students=listed(students or usual_students(teacher), "--students"),
        formats=listed(formats, "--formats"),
        precisions=listed(precisions, "--precisions"),
        threads=threads,
        launches=launches,
        seed=seed,
        serials=tuple(dict.fromkeys(serials or ())),
        latency=latency,
        sustained=sustained,
        pictures=pictures,
        repeats=repeats,
        install=install,
        settings=tuple(assignments or ()),
    )
    if sustained is not None and named != "android":
        raise UsageError(f"--sustained {sustained} is for phones; this ships for {named}. Leave it out.")
    if reason:
        say(f"[yellow]{escape(reason)}[/]")
    if dry_run:
        show_plan(question, examine(question, Steps(out, is_rehearsal=True), out), Steps(out, is_rehearsal=True))
        return 0
    with alone_in(out) as lock:
        steps = Steps(out, question.time_s, lock=lock)
        ground = examine(question, steps, out)
        _same_question(out, ground)
        show_plan(question, ground, steps)
        record = loop(question, ground, steps)
        record.write(out / SHIP_FILE)
        write_page(record, out / PAGE_FILE)
    _tell(record, steps, out, as_json=as_json)
    return 0 if record.outcome == "shipped" else 1


def loop(question: Question, ground: Ground, steps: Steps) -> Ship:
    """All of it: the record of what was asked, done and decided."""
    screened = screen(question, ground, steps)
    teacher = None
    trained: list[Trained] = []
    exported: list[Exported] = []
    choice: Choice | None = None
    answered: tuple[OnDevice, ...] = ()
    kept = [each for each in screened if each.kept]
    if kept:
        teacher = train_teacher(question, ground, steps, reserve_s(question, ground))
        names = [each.student for each in kept]
        trained = train(question, ground, teacher, names, steps, reserve_s(question, ground))
        on_phone = question.device == "android"
        exported = export_teacher(teacher, steps, with_eager=on_phone)
        for finalist in (each for each in trained if each.finalist):
            forms = kept_forms(next(each for each in kept if each.student == finalist.student))
            exported += export_student(finalist.student, Path(finalist.run), *forms, steps, with_eager=on_phone)
        journal = measure(question, ground, exported, steps)
        if question.sustained is not None:
            journal = measure_warm(question, ground, exported, steps)
        choice = choose(question, ground, exported, journal, steps)
        answered = on_device(journal, choice)
    packed, app = None, None
    if choice and choice.winner:
        packed = bundle(choice.winner, Path(choice.journal.path), steps)
        if question.device == "android":
            app = build(question, ground, choice.winner, packed, steps)
    return Ship(
        toolkit_version=toolkit_version(),
        utc_time=datetime.now(UTC).isoformat(timespec="seconds"),
        question=question,
        task=ground.task,
        device=_place(ground, choice),
        rehearsal=ground.emulated,
        outcome="shipped" if packed else "nothing-fits",
        answer=words.answer(question, screened, choice, TASKS[ground.task].share),
        data=words.data_of(trained),
        teacher=words.teacher_of(teacher, trained_here=ground.teacher is None),
        screened=tuple(screened),
        trained=tuple(trained),
        exported=tuple(exported),
        choice=choice,
        on_device=answered,
        bundle=packed,
        app=app,
        steps=tuple(_done(step.name, step.command, step.exit_code, step.seconds, step.utc_time) for step in steps.used),
        seconds=round(steps.seconds, 1),
        unproven=words.unproven(question, ground, teacher, trained, choice, answered, app, TASKS[ground.task].share),
    )


def _place(ground: Ground, choice: Choice | None) -> str:
    if len(ground.phones) > 1:
        return f"{len(ground.phones)} phones, the slowest of them each time: {ground.place}"
    return choice.device if choice else ground.place


def show_plan(question: Question, ground: Ground, steps: Steps) -> None:
    """What was found, and what will be done in which time."""
    style = {"good": "green", "fair": "yellow"}
    rows = [[each.topic, f"[{style[each.grade]}]{escape(each.found)}[/]"] for each in ground.findings]
    console.print(table("looked at first", ["what", "found"], rows))
    planned = parts(question, ground, [*steps.finished.values()])
    reserved_s = sum(part.seconds or 0.0 for part in planned)
    plan_rows = [
        [f"{number} {part.what}", part.in_words(question, reserved_s)] for number, part in enumerate(planned, start=1)
    ]
    asked = f"{question.budget.in_words(TASKS[ground.task].share)} on {ground.place}"
    console.print(table(escape(f"{asked}, in {in_words(question.time_s)}"), ["step", "time"], plan_rows))


def _device(asked: str | None) -> tuple[DeviceName, str]:
    if asked is None:
        return find_device()
    if asked == "cpu" or asked == "android":
        return asked, ""
    raise UsageError(f"--device {asked!r}: a model ships for cpu (this machine) or android.")


def _same_question(out: Path, ground: Ground) -> None:
    """What lies in the folder was made of the same data, settings and teacher; budget, time and students may change."""
    file = out / QUESTION_FILE
    if not file.is_file():
        write_whole(file, json.dumps({"identity": ground.identity}).encode())
    elif json.loads(file.read_text())["identity"] != ground.identity:
        raise UsageError(
            f"{out} holds what was made of other data, settings or another teacher. Choose another folder with --out, "
            "or remove this one."
        )


def _done(name: str, command: tuple[str, ...], exit_code: int, seconds: float, utc_time: str) -> Done:
    return Done(name=name, command=command, exit_code=exit_code, seconds=seconds, utc_time=utc_time)


def _tell(record: Ship, steps: Steps, out: Path, *, as_json: bool) -> None:
    if steps.reused:
        say(f"[dim]{steps.reused} of {len(steps.used)} steps were finished before and not repeated[/]")
    style = "green" if record.outcome == "shipped" else "red"
    say(f"[{style}]{escape(record.answer)}[/]")
    for sentence in record.unproven:
        say(f"[yellow]unproven:[/] {escape(sentence)}")
    if as_json:
        answer(record.to_json())
        return
    follow = f"open {out / PAGE_FILE} in a browser; it is one file"
    product(out / PAGE_FILE, escape(follow + (f". make app BUNDLE={out / 'bundle'}" if record.bundle else "")))
