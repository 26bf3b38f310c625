"""One `python -m bench` call: measure every cell, write each row to the journal as it is done."""

import uuid
from contextlib import closing
from pathlib import Path

from rich.markup import escape

from bench.record import Measurement, append
from bench.session.cells import Cell, Plan
from bench.session.device import DeviceBench
from bench.timing.statistics import summarize
from distill.terminal import progress, say


def run_session(plan: Plan, bench: DeviceBench, journal: Path, *, run_id: str | None = None) -> list[Measurement]:
    """Measure all cells. A failed cell is a row like any other; Ctrl-C keeps the rows that are done.

    Args:
        plan: the cells.
        bench: the device.
        journal: every row is appended to it as it is done.
        run_id: of the session that is continued; None for a new one.

    Raises:
        WorkFailed: the journal cannot be written.
    """
    run_id = run_id or uuid.uuid4().hex
    caution = bench.caution()
    if caution:
        say(f"[yellow]caution:[/] {escape(caution)}")
    rows: list[Measurement] = []
    with progress(unit="rows") as display:
        task = display.add_task("starting", total=len(plan.cells), note="")

        def tell(text: str) -> None:
            display.update(task, description=escape(text))

        # Closed at once on Ctrl-C: a phone gets its settings back before anything else happens.
        with closing(bench.measure_all(plan.cells, run_id=run_id, tell=tell)) as measured:
            for cell, row in measured:
                append(journal, row)
                rows.append(row)
                display.advance(task)
                say(_one_line(cell, row))
    return rows


def describe(cell: Cell) -> str:
    """A cell in one line."""
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    return f"{cell}, {threads}"


def _one_line(cell: Cell, row: Measurement) -> str:
    if row.validity == "failed":
        return f"[red]failed[/]  {describe(cell)}: {escape(row.reason)}"
    return f"{summarize(row.samples_ms).median_ms:8.3f} ms  {describe(cell)}  [dim]{row.validity}{_doubt(row)}[/]"


def _doubt(row: Measurement) -> str:
    return "" if row.validity == "valid" else f": {escape(row.reason)}"
