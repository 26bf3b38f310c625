"""`python -m bench [ARTIFACT …]` measures; the other commands plan, compare, choose, report and mend."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.compare.choose import LatencyOption, choose_command
from bench.compare.compare import compare
from bench.compare.history import history
from bench.compare.plan import plan
from bench.measure import AdbOption, SerialOption, measure
from bench.record import read_journal
from bench.session.journal import JOURNAL
from distill.errors import UsageError
from distill.terminal import answer, console, product, run, say, table, takes_for_granted

REPORT = Path("out/report.html")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

app = typer.Typer(
    cls=takes_for_granted("measure"),
    add_completion=False,
    rich_markup_mode=None,
    help="Measure exported models, and report. `measure` may be left out: python -m bench [ARTIFACT …] [OPTIONS]",
)


app.command()(measure)
app.command()(compare)
app.command()(history)
app.command("choose")(choose_command)
app.command()(plan)


@app.command()
def restore(adb: AdbOption = None, serial: SerialOption = None, as_json: JsonOption = False) -> None:
    """Put phones back as they were.

    For a session that was cut off before it could: settings, folders and processes it left behind.
    """
    from bench.android.adb import Adb
    from bench.android.mend import restore_phones

    restored = restore_phones(Adb.find(adb), serial)
    if as_json:
        answer(json.dumps({"restored": [asdict(phone) for phone in restored]}, indent=2))


@app.command()
def doctor(
    device: Annotated[str, typer.Option(help="What to examine; android.")] = "android",
    adb: AdbOption = None,
    serial: SerialOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a phone supports and how far its numbers can be trusted. Nothing is changed on it."""
    from bench.android.adb import Adb
    from bench.android.doctor import examine

    if device != "android":
        raise UsageError(f"only phones can be examined, found --device {device}. Use --device android.")
    program = Adb.find(adb)
    phone = program.choose(serial)
    findings = examine(program, phone)
    if as_json:
        answer(json.dumps({"serial": phone.serial, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return
    style = {"good": "green", "fair": "yellow", "bad": "red"}
    cells = [
        [finding.topic, f"[{style[finding.grade]}]{finding.grade}[/]", escape(finding.found)] for finding in findings
    ]
    console.print(table("This phone as a measuring device", ["what", "grade", "found"], cells))
    for finding in findings:
        if finding.advice:
            say(f"{escape(finding.topic)}: {escape(finding.advice)}")


@app.command()
def report(
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    out: Annotated[Path, typer.Option(help="Page to write.")] = REPORT,
    latency: LatencyOption = None,
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a study's figures, as written by `python -m distill figures`; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report page.

    One HTML file that needs no network: accuracy against latency with limits to set, the table, every row's samples,
    conditions.
    """
    from bench.report.html import as_counted, headline, shown_rows, write_report
    from bench.report.study_figures import read_figures

    journal = read_journal(measurements)
    pictures = [picture for folder in figures or () for picture in read_figures(folder)]
    for number in journal.cut_lines:
        say(
            f"[yellow]left out:[/] {escape(str(measurements))} line {number} was cut off, probably by a crash; "
            "measure that artifact again."
        )
    counted = as_counted(journal.measurements, latency)
    if lacking := len(journal.measurements) - len(counted):
        say(f"[yellow]left out:[/] {lacking} rows whose whole path was not timed; --latency model shows them")
    write_report(counted, out, pictures)
    if as_json:
        rows = shown_rows(counted)
        document = {"report": str(out), "measurements": str(measurements), "title": headline(rows), "rows": len(rows)}
        answer(json.dumps({**document, "cut_lines": journal.cut_lines}, indent=2))
    else:
        product(out, f"open {out} in a browser; it is one file and can be sent as it is")


if __name__ == "__main__":
    run(app)
