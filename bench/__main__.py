"""`python -m bench [ARTIFACT …]` measures; `python -m bench report` makes the page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from bench import machine
from bench.cells import NotMeasured, Plan, find_artifacts, plan
from bench.devices import open_device
from bench.record import Measurement, read_journal
from bench.rows import compare
from bench.session import run_session
from bench.table import show_table
from bench.timing import Limits
from distill.errors import UsageError, WorkFailed
from distill.terminal import product, run, say

ARTIFACTS = Path("out/artifacts")
JOURNAL = Path("out/measurements.jsonl")
REPORT = Path("out/report.html")


class MeasureByDefault(TyperGroup):
    """Takes `python -m bench ARTIFACT …` for `python -m bench measure ARTIFACT …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front where none is named."""
        if not args or args[0] not in (*self.commands, "--help"):
            args = ["measure", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=MeasureByDefault,
    add_completion=False,
    rich_markup_mode=None,
    help="Measure exported models, and report. `measure` may be left out: python -m bench [ARTIFACT …] [OPTIONS]",
)


@app.command()
def measure(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Artifact folders, or folders that hold some.", show_default=str(ARTIFACTS)),
    ] = None,
    device: Annotated[str, typer.Option(help="What to measure on.")] = "cpu",
    batch: Annotated[str, typer.Option(help="Images per call, e.g. 1,8. Latency is per call.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads of the runtime, e.g. 1,2.")] = "1",
    out: Annotated[Path, typer.Option(help="Journal; every finished row is appended at once.")] = JOURNAL,
    timeout: Annotated[float, typer.Option(help="Seconds one row may take.", min=1)] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")] = False,
) -> None:
    """Measure exported models (the default).

    Each runs in its own process; every finished row is one line of the journal, with its raw samples.
    """
    bench = open_device(device, limits=Limits(), timeout_s=timeout)
    batches, thread_counts = numbers(batch, "--batch"), within_cores(numbers(threads, "--threads"))
    folders = find_artifacts(artifacts or [ARTIFACTS])
    todo = plan(folders, batches=batches, threads=thread_counts, refusal=bench.refusal)
    tell_not_measured(todo.not_measured)
    refuse_empty(todo)
    rows = run_session(todo, bench, out)
    if as_json:
        print(as_document(rows, todo.not_measured, out))
    else:
        show_table(compare(rows))
        product(out, f"python -m bench report --measurements {out}")
    raise_failures(rows, todo.not_measured, out)


@app.command()
def report(
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    out: Annotated[Path, typer.Option(help="Page to write.")] = REPORT,
) -> None:
    """Write the report page.

    One HTML file that needs no network: speed-up against accuracy, latencies, the table, conditions.
    """
    from bench.report import write_report

    journal = read_journal(measurements)
    for number in journal.cut_lines:
        say(
            f"[yellow]left out:[/] {escape(str(measurements))} line {number} was cut off, probably by a crash; "
            "measure that artifact again."
        )
    write_report(journal.measurements, out)
    product(out, f"open {out} in a browser; it is one file and can be sent as it is")


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers above 0 from "1,8", in order, none twice.

    Raises:
        UsageError: anything else is in the text.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} {text!r} is not a list of whole numbers above 0. Write it like this: {option} 1,8")
    return list(dict.fromkeys(int(word) for word in words))


def within_cores(threads: list[int]) -> list[int]:
    """The thread counts, if this machine has a core for each thread.

    Raises:
        UsageError: it has not; threads that wait for each other measure the scheduler, not the model.
    """
    cores = machine.usable_cores()
    if max(threads) > cores:
        raise UsageError(
            f"--threads {max(threads)} is more than the {cores} cores this process may use. Use at most {cores}."
        )
    return threads


def refuse_empty(todo: Plan) -> None:
    """Raise UsageError if no cell is left to measure."""
    if not todo.cells:
        reasons = "; ".join(f"{one.what}: {one.reason}" for one in todo.not_measured)
        raise UsageError(f"nothing is left to measure. {reasons}")


def raise_failures(rows: Sequence[Measurement], not_measured: Sequence[NotMeasured], journal: Path) -> None:
    """Raise WorkFailed if a row failed or an artifact could not be read; everything else is finished by then."""
    failed = sum(row.validity == "failed" for row in rows)
    broken = sum(one.broken for one in not_measured)
    if failed or broken:
        raise WorkFailed(
            f"{failed} of {len(rows)} rows failed and {broken} artifacts could not be read; the reasons stand above. "
            f"All finished rows are in {journal}. Export what is broken again, then measure only that."
        )


def tell_not_measured(not_measured: Sequence[NotMeasured]) -> None:
    """Say what was asked for and will not be measured."""
    for one in not_measured:
        style = "red" if one.broken else "yellow"
        say(f"[{style}]not measured:[/] {escape(one.what)}: {escape(one.reason)}")


def as_document(rows: Sequence[Measurement], not_measured: Sequence[NotMeasured], journal: Path) -> str:
    """The session as one JSON document."""
    document = {
        "journal": str(journal),
        "measurements": [row.model_dump(mode="json") for row in rows],
        "not_measured": [{"what": one.what, "reason": one.reason, "broken": one.broken} for one in not_measured],
    }
    return json.dumps(document, indent=2)


if __name__ == "__main__":
    run(app)
