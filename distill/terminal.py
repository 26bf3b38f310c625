"""The terminal's side of every command: one console, progress, tables, errors as one paragraph, exit codes.

People read stderr (log, progress, tables, errors); programs read stdout (the path written, or `--json`).
"""

import codecs
import io
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.exceptions
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from distill.errors import ToolError

CTRL_C = 130

AS_IT_IS = "as_it_is"
"""Name under which Python knows how stdout writes what it has no sign for."""

PROCESS = int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0
"""Of several processes that torchrun started for one piece of work only the first, 0, speaks; errors all may report."""

console = Console(stderr=True, highlight=False, quiet=PROCESS != 0)

UNBOUNDED = console.options.update(width=10_000)
"""To measure how wide something would like to be."""


def progress(*, unit: str = "", estimate_over_s: float = 30) -> Progress:
    """A progress display: what, how far, time used, time left; nothing where stderr is no terminal.

    Use as a context manager. A task needs the field `note`, shown behind the count. The time left is estimated from the
    last `estimate_over_s` seconds, which must hold several advances.
    """
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[note]}}" if unit else "{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=estimate_over_s,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = ()) -> Table:
    """A table whose first column is text and whose numbers are right-aligned.

    Args:
        title: in markup, as are the cells.
        columns: their heads.
        rows: one cell per column.
        optional: columns to leave out, the first one first, until the terminal has room for the rest; a line under the
            table names them.
    """
    left_out: list[str] = []
    while True:
        shown = [index for index, column in enumerate(columns) if column not in left_out]
        result = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
        for index in shown:
            numeric = index > 0 and all(_is_number(row[index]) for row in rows)
            result.add_column(columns[index], justify="right" if numeric else "left", no_wrap=numeric)
        for row in rows:
            result.add_row(*(Text.from_markup(row[index]) for index in shown))
        if left_out:
            result.caption = f"no room here for: {', '.join(left_out)}"
        rest = [column for column in optional if column in columns and column not in left_out]
        if not rest or console.measure(result, options=UNBOUNDED).maximum <= console.width:
            return result
        left_out.append(rest[0])


def say(text: str) -> None:
    """One line on stderr, never broken at the terminal's width, so that log files stay one line per event."""
    console.print(text, soft_wrap=True)


def command(*words: object) -> str:
    """A command as a shell takes it, for `say` and `product`: words with blanks are quoted, brackets are no markup."""
    return escape(shlex.join(str(word) for word in words))


def product(path: object, next_step: str) -> None:
    """Say where the product lies (last line on stdout) and what to do with it (stderr)."""
    say(f"[bold]next:[/] {next_step}")
    answer(str(path))


def answer(text: str) -> None:
    """Print what programs read on stdout."""
    if PROCESS == 0:
        print(text)


def show_error(message: str) -> None:
    """Print an error as one framed paragraph on stderr; as one line in any but the first of several processes."""
    if PROCESS != 0:
        print(f"process {PROCESS}: {message}", file=sys.stderr)
        return
    console.print(Panel(Text(message), title="error", title_align="left", border_style="red"))


def takes_for_granted(command: str) -> type[TyperGroup]:
    """A group of commands in which `command` may be left out: `python -m bench X` is `python -m bench measure X`."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or args[0] not in (*self.commands, "--help"):
                args = [command, *args]
            return super().parse_args(ctx, args)

    return Group


def run(app: typer.Typer) -> None:
    """Run a command line and end the process: 0 done, 1 failed work, 2 usage, 130 stopped by Ctrl-C.

    A command may return its exit code; None is 0.

    Our own errors are shown as one paragraph; any other exception is a defect and keeps its traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error(AS_IT_IS, _as_it_is)
        sys.stdout.reconfigure(errors=AS_IT_IS)
    try:
        code = app(standalone_mode=False)
    except ToolError as error:
        show_error(str(error))
        sys.exit(error.exit_code)
    except typer.exceptions.TyperException as error:
        words, typed = error.format_message().replace("Value error, ", ""), error.__cause__
        value = repr(typed.errors()[0]["input"]) if isinstance(typed, ValidationError) else ""
        words = words if value in words else f"{words.removesuffix('.')} (found {value})."
        show_error(f"{words.removesuffix('.')}. See --help.")
        sys.exit(error.exit_code)
    if code == CTRL_C:
        say("stopped by Ctrl-C; everything finished so far is kept")
    sys.exit(code if isinstance(code, int) else 0)


def _as_it_is(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stdout cannot write: bytes of a path that are no text as they are, letters as JSON writes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    escaped = bytes([ord(letter) - 0xDC00]) if 0xDC80 <= ord(letter) <= 0xDCFF else json.dumps(letter)[1:-1].encode()
    return escaped, error.start + 1


def _is_number(cell: str) -> bool:
    plain = Text.from_markup(cell).plain
    return not plain or plain[0] in "0123456789-+−×±–"
