"""Tables on stderr: as wide as they need to be in a file or a pipe, as wide as the terminal on one."""

from rich import box
from rich.console import Console
from rich.table import Table

from distill.terminal import console

MISSING = "–"
"""Stands where there is no figure."""

STYLE = {
    "valid": "green",
    "noisy": "yellow",
    "drifting": "yellow",
    "throttled": "yellow",
    "wrong": "red",
    "failed": "red",
}
"""Colours of the labels."""

UNLIMITED = 1000
"""Columns of text, more than any table needs."""


def show_compactly(shown: Table) -> None:
    """Print a table with little frame; its first column folds where the terminal is too narrow."""
    shown.box = box.SIMPLE_HEAD
    shown.pad_edge = shown.show_edge = False
    shown.collapse_padding = True
    for column in shown.columns:
        column.overflow = "fold"
    if console.is_terminal:
        console.print(shown)
    else:
        # A file or a pipe has no width of its own; Rich would take 80.
        needed = Console(width=UNLIMITED).measure(shown).maximum
        Console(stderr=True, highlight=False, width=max(needed, len(str(shown.title)))).print(shown)
