"""`python -m bench [ARTIFACT …]` measures; the other commands plan, compare, choose, report and mend."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bench.compare.choose import choose_command
from bench.compare.compare import compare
from bench.compare.history import history
from bench.compare.plan import plan
from bench.measure import AdbOption, SerialOption, measure
from bench.record import read_journal
from bench.session.journal import JOURNAL
from distill.errors import UsageError
from distill.terminal import console, product, run, say, table, takes_for_granted

REPORT = Path("out/report.html")

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
def restore(adb: AdbOption = None, serial: SerialOption = None) -> None:
    """Put phones back as they were.

    For a session that was cut off before it could: settings, folders and processes it left behind.
    """
    from bench.android.adb import Adb
    from bench.android.mend import restore_phones

    restore_phones(Adb.find(adb), serial)


@app.command()
def doctor(
    device: Annotated[str, typer.Option(help="What to examine; android.")] = "android",
    adb: AdbOption = None,
    serial: SerialOption = None,
) -> None:
    """Say what a phone supports and how far its numbers can be trusted. Nothing is changed on it."""
    from bench.android.adb import Adb
    from bench.android.doctor import examine

    if device != "android":
        raise UsageError(f"only phones can be examined, found --device {device}. Use --device android.")
    found = Adb.find(adb)
    findings = examine(found, found.choose(serial))
    style = {"good": "green", "fair": "yellow", "bad": "red"}
    cells = [[one.topic, f"[{style[one.grade]}]{one.grade}[/]", escape(one.found)] for one in findings]
    console.print(table("This phone as a measuring device", ["what", "grade", "found"], cells))
    for one in findings:
        if one.advice:
            say(f"{escape(one.topic)}: {escape(one.advice)}")


@app.command()
def report(
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    out: Annotated[Path, typer.Option(help="Page to write.")] = REPORT,
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a study's figures, as written by `python -m distill figures`; repeatable."),
    ] = None,
) -> None:
    """Write the report page.

    One HTML file that needs no network: accuracy against latency with limits to set, the table, every row's samples,
    conditions.
    """
    from bench.report.html import write_report
    from bench.report.study_figures import read_figures

    journal = read_journal(measurements)
    pictures = [picture for folder in figures or () for picture in read_figures(folder)]
    for number in journal.cut_lines:
        say(
            f"[yellow]left out:[/] {escape(str(measurements))} line {number} was cut off, probably by a crash; "
            "measure that artifact again."
        )
    write_report(journal.measurements, out, pictures)
    product(out, f"open {out} in a browser; it is one file and can be sent as it is")


if __name__ == "__main__":
    run(app)
