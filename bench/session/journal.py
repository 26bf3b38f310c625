"""Rows of a journal as the command line names them: all of it, or one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from bench.record import Measurement, read_journal
from distill.errors import UsageError
from distill.terminal import say

JOURNAL = Path("out/measurements.jsonl")
"""Where a session writes, unless it is told otherwise."""

LATEST, PREVIOUS = "latest", "previous"
SHOWN_RUNS = 5


@dataclass(frozen=True)
class Selection:
    """Some rows of a journal, and how they are called."""

    name: str
    rows: tuple[Measurement, ...]


def open_journal(path: Path) -> tuple[Measurement, ...]:
    """Every whole row; lines that a crash cut off are named on stderr.

    Raises:
        UsageError: no such journal, nothing in it, or a line that is no measurement.
    """
    journal = read_journal(path)
    for number in journal.cut_lines:
        say(f"[yellow]left out:[/] {escape(str(path))} line {number} was cut off, probably by a crash")
    if not journal.measurements:
        raise UsageError(f"{path} holds no measurement. Measure first: python -m bench ARTIFACT --device cpu")
    return journal.measurements


def select(text: str, journal: Path) -> Selection:
    """The rows that JOURNAL, JOURNAL@RUN or @RUN names.

    Args:
        text: RUN is a run id or its beginning, `latest` or `previous`.
        journal: where @RUN is looked for.

    Raises:
        UsageError: no such journal or run, or the beginning of several.
    """
    if Path(text).is_file():
        return Selection(text, open_journal(Path(text)))
    before, separator, run = text.rpartition("@")
    if not separator:
        raise UsageError(
            f"{text} is no journal. Name a file, one run of it as JOURNAL@RUN, or a run of {journal} as @RUN; "
            f"RUN is a run id or its beginning, {LATEST} or {PREVIOUS}."
        )
    path = Path(before) if before else journal
    rows = open_journal(path)
    run_id = _find_run(run, _runs(rows), path)
    return Selection(f"{path}@{run_id[:8]}", tuple(row for row in rows if row.run_id == run_id))


def _runs(rows: Sequence[Measurement]) -> dict[str, str]:
    """Run ids in the order of their last rows, with the time they began."""
    runs: dict[str, str] = {}
    for row in rows:
        runs[row.run_id] = runs.pop(row.run_id, row.utc_time)
    return runs


def _find_run(run: str, runs: dict[str, str], path: Path) -> str:
    ids = list(runs)
    if run == LATEST:
        return ids[-1]
    if run == PREVIOUS:
        if len(ids) < 2:
            raise UsageError(f"{path} holds one run only, so there is no previous one. Measure again into it.")
        return ids[-2]
    matches = [run] if run in runs else [run_id for run_id in ids if run and run_id.startswith(run)]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(f"{run_id[:8]} ({runs[run_id]})" for run_id in reversed(ids[-SHOWN_RUNS:]))
    problem = f"has {len(matches)} runs that begin with {run!r}" if matches else f"has no run {run!r}"
    raise UsageError(f"{path} {problem}. Its newest runs: {known}; or say {LATEST} or {PREVIOUS}.")
