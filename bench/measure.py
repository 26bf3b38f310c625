"""`python -m bench [ARTIFACT …]`: the command that measures."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.android.accelerators import CPU
from bench.android.options import PhoneOptions
from bench.android.sustained import per_minute
from bench.compare.conditions import what
from bench.compare.speed_up import compare
from bench.cpu.device import LAUNCHES
from bench.cpu.options import INTERVAL_PERCENT, HostOptions
from bench.cuda.device import CudaOptions
from bench.devices import Options, find_device
from bench.record import Measurement, read_journal
from bench.report.table import show_table
from bench.session.answers.options import ANSWERS, AccuracyOptions, PathOptions
from bench.session.answers.words import in_words
from bench.session.cells import ARTIFACTS, NotMeasured, Plan, find_artifacts, plan, whole_numbers
from bench.session.device import DeviceBench
from bench.session.journal import JOURNAL
from bench.session.lock import only_bench
from bench.session.resume import resume
from bench.session.run import run_session
from distill.errors import UsageError, WorkFailed
from distill.system import usable_cores
from distill.terminal import product, say

AdbOption = Annotated[str | None, typer.Option(help="Phones: the adb program.", show_default="$ADB or found")]
SerialOption = Annotated[
    str | None, typer.Option(help="Phones: which one.", show_default="$ANDROID_SERIAL or the only one")
]


def measure(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Artifact folders, or folders that hold some.", show_default=str(ARTIFACTS)),
    ] = None,
    device: Annotated[str, typer.Option(help="What to measure on.")] = "cpu",
    batch: Annotated[str, typer.Option(help="Images per call, e.g. 1,8. Latency is per call.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads of the runtime, e.g. 1,2.")] = "1",
    out: Annotated[Path, typer.Option(help="Journal; every finished row is appended at once.")] = JOURNAL,
    timeout: Annotated[float, typer.Option(help="Seconds one process may take.", min=1)] = 120.0,
    launches: Annotated[int, typer.Option(help="Processes per row; 5 to tell 5 % apart.", min=1)] = LAUNCHES,
    seed: Annotated[int | None, typer.Option(help="Of the order of launches.", show_default="a new one")] = None,
    interval_percent: Annotated[
        float, typer.Option(help="Sample until a launch knows its median to ± this.", min=0.1, max=50)
    ] = INTERVAL_PERCENT,
    accuracy: Annotated[
        int, typer.Option(help="Held-out pictures that each answers there; on phones as files.", min=0)
    ] = 0,
    path: Annotated[
        bool | None,
        typer.Option(
            "--path/--no-path",
            help="Time the whole path, too, from picture to answer.",
            show_default="on phones, if not --sustained",
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="What the whole path is timed with.", show_default="held-out pictures")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the held-out images lie now, if they were moved.", show_default=False)
    ] = None,
    memory_limit_mb: Annotated[
        int | None, typer.Option(help="What one process may hold.", min=1, show_default="80 % of this machine")
    ] = None,
    go_on: Annotated[bool, typer.Option("--resume", help="Measure only what the last session did not finish.")] = False,
    adb: AdbOption = None,
    serial: SerialOption = None,
    all_devices: Annotated[bool, typer.Option(help="Phones: all that are connected, at once.")] = False,
    instrument: Annotated[str, typer.Option(help="Phones: what measures: app, native or python.")] = "app",
    sustained: Annotated[str | None, typer.Option(help="Phones: run each without a pause, e.g. 10m.")] = None,
    accelerator: Annotated[str, typer.Option(help="Phones: what runs the models, e.g. cpu,gpu.")] = CPU,
    allow_hot: Annotated[bool, typer.Option(help="Phones: measure even if it does not cool down.")] = False,
    fixed_performance: Annotated[bool, typer.Option(help="Phones: hold the clocks at a level it can keep up.")] = False,
    repeat: Annotated[
        int, typer.Option(help="Calls with one input in each launch: do all outputs agree?", min=1)
    ] = AccuracyOptions.repeat,
    engines: Annotated[str, typer.Option(help="GPU: what runs the models.")] = CudaOptions.engines,
    precisions: Annotated[str, typer.Option(help="GPU: fp32, tf32, bf16, fp16.")] = CudaOptions.precisions,
    l2: Annotated[str, typer.Option(help="GPU: its L2 cache before a call, warm or cold.")] = CudaOptions.l2,
    copy_input: Annotated[bool, typer.Option("--copy-input", help="GPU: time the input's copy, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")] = False,
) -> None:
    """Measure exported models (the default).

    Each runs in its own process; every finished row is one line of the journal, with its raw samples.
    """
    phone = PhoneOptions(
        adb, serial, all_devices, instrument, launches, allow_hot, fixed_performance, sustained, accelerator
    )
    answers = AccuracyOptions(accuracy, data, out.parent / ANSWERS.name, repeat)
    # A sustained run has one loop to heat the phone with.
    is_usual = device == "android" and sustained is None
    whole_path = PathOptions(is_usual if path is None else path, picture)
    host = HostOptions(launches, seed, interval_percent, memory_limit_mb)
    cuda = CudaOptions(engines, precisions, l2, copy_input)
    entry = find_device(device)
    refuse_without_effect(phone if entry.is_this_machine else host, device)
    if device != "cuda":
        refuse_without_effect(cuda, device)
    bench = entry.open(Options(timeout, answers, whole_path, host, phone, cuda))
    batches, thread_counts = whole_numbers(batch, "--batch"), whole_numbers(threads, "--threads")
    if entry.is_this_machine:
        within_cores(thread_counts)
    folders = find_artifacts(artifacts or [ARTIFACTS])
    todo = bench.spread(plan(folders, batches=batches, threads=thread_counts, refusal=bench.refusal))
    tell_not_measured(todo.not_measured)
    refuse_empty(todo)
    todo, run_id = unfinished(todo, bench, out) if go_on else (todo, None)
    with only_bench() if entry.is_this_machine else nullcontext():
        rows = run_session(todo, bench, out, run_id=run_id)
    if as_json:
        print(as_document(rows, todo.not_measured, out))
    else:
        show_table(compare(rows))
        if sustained is not None:
            tell_minutes(rows)
        tell_answers(rows)
        tell_paths(rows)
        product(out, f"python -m bench report --measurements {out}")
    raise_failures(rows, todo.not_measured, out)


def within_cores(threads: list[int]) -> list[int]:
    """The thread counts, if this machine has a core for each thread.

    Raises:
        UsageError: it has not; threads that wait for each other measure the scheduler, not the model.
    """
    cores = usable_cores()
    if max(threads) > cores:
        raise UsageError(
            f"--threads {max(threads)} is more than the {cores} cores this process may use. Use at most {cores}."
        )
    return threads


def unfinished(todo: Plan, bench: DeviceBench, journal: Path) -> tuple[Plan, str]:
    """What the last session left to do, and its run id: one that has only answers of a phone so far, or the journal's.

    Raises:
        UsageError: it left nothing, was on another device, or this is not one device.
    """
    rows = read_journal(journal).measurements if journal.is_file() else ()
    if bench.place().kind == "android" and (begun := only_answers(journal.parent / ANSWERS.name, rows)):
        return todo, begun
    left, run_id = resume(todo, read_journal(journal).measurements, bench.place())
    if not left.cells:
        raise UsageError(f"nothing is left to measure: the last session in {journal} finished every row asked for.")
    return left, run_id


def only_answers(folder: Path, rows: Sequence[Measurement]) -> str | None:
    """Run id of the newest session that kept answers of a phone and was cut off before its first row; None if none was.

    Args:
        folder: where sessions keep answers.
        rows: of the journal; a session that came later than the answers has taken their place.
    """
    known = {row.run_id for row in rows}
    last_s = max((datetime.fromisoformat(row.utc_time).timestamp() for row in rows), default=0.0)
    found = {path.name: path.stat().st_mtime for path in folder.glob("*") if path.is_dir() and path.name not in known}
    newest = max(found, key=lambda name: found[name], default=None)
    return newest if newest is not None and found[newest] >= last_s else None


def tell_minutes(rows: Sequence[Measurement]) -> None:
    """The median of every minute of a sustained run, per row."""
    for row in rows:
        medians = [f"{minute.median_ms:.3f}" for minute in per_minute(row.samples_ms)]
        name = f"{row.subject.name} {row.subject.format} {row.subject.precision}"
        say(f"{escape(name)}, median ms by minute: {' '.join(medians) or 'none'}")


def tell_answers(rows: Sequence[Measurement]) -> None:
    """What held-out pictures say of each row that answered some."""
    for row in rows:
        if row.answered is not None:
            say(escape(f"{what(row)}: {in_words(row.answered)}"))
        elif row.measured_note:
            say(f"[yellow]no {row.subject.measure.title}:[/] {escape(what(row))}: {escape(row.measured_note)}")


def tell_paths(rows: Sequence[Measurement]) -> None:
    """The median of every stage from picture to answer, per row."""
    for row in rows:
        if row.path is not None:
            medians = [f"{name.removesuffix('_ms').replace('_', '-')} {ms:.3f}" for name, ms in row.path.medians()]
            stages, total = " + ".join(medians[:-1]), medians[-1]
            say(escape(f"{what(row)}, median ms of the whole path: {stages}; {total} ({row.path.pictures})"))


def refuse_without_effect(options: PhoneOptions | HostOptions | CudaOptions, device: str) -> None:
    """Raise UsageError if something is asked of another kind of device. How many launches is asked of all."""
    given = [
        f"--{option.name.replace('_', '-')}"
        for option in fields(options)
        if option.name != "launches" and getattr(options, option.name) != option.default
    ]
    if given:
        whose = {PhoneOptions: "phones", CudaOptions: "GPUs"}.get(type(options), "this machine")
        raise UsageError(f"{', '.join(given)} is for {whose} and has no effect on {device}. Leave it out.")


def refuse_empty(todo: Plan) -> None:
    """Raise UsageError if no cell is left to measure."""
    if not todo.cells:
        reasons = "; ".join(f"{skipped.what}: {skipped.reason}" for skipped in todo.not_measured)
        raise UsageError(f"nothing is left to measure. {reasons}")


def raise_failures(rows: Sequence[Measurement], not_measured: Sequence[NotMeasured], journal: Path) -> None:
    """Raise WorkFailed if a row failed or an artifact could not be read; everything else is finished by then."""
    failed = sum(row.validity == "failed" for row in rows)
    broken = sum(skipped.broken for skipped in not_measured)
    if failed or broken:
        raise WorkFailed(
            f"{failed} of {len(rows)} rows failed and {broken} artifacts could not be read; the reasons stand above. "
            f"All finished rows are in {journal}. Export what is broken again, then measure only that."
        )


def tell_not_measured(not_measured: Sequence[NotMeasured]) -> None:
    """Say what was asked for and will not be measured."""
    for skipped in not_measured:
        style = "red" if skipped.broken else "yellow"
        say(f"[{style}]not measured:[/] {escape(skipped.what)}: {escape(skipped.reason)}")


def as_document(rows: Sequence[Measurement], not_measured: Sequence[NotMeasured], journal: Path) -> str:
    """The session as one JSON document."""
    document = {
        "journal": str(journal),
        "measurements": [row.model_dump(mode="json") for row in rows],
        "not_measured": [
            {"what": skipped.what, "reason": skipped.reason, "broken": skipped.broken} for skipped in not_measured
        ],
    }
    return json.dumps(document, indent=2)
