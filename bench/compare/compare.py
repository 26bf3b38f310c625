"""`python -m bench compare A B`: what became faster, what became slower, and what cannot be told."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bench.compare.conditions import compared, what
from bench.compare.matching import Comparison, NotCompared, Pair, compare_rows
from bench.compare.tables import STYLE, show_compactly
from bench.record import Measurement
from bench.session.journal import JOURNAL, select
from bench.timing.intervals import Interval
from bench.timing.statistics import summarize
from distill.errors import UsageError
from distill.terminal import answer, say, table

COLOUR = {"faster": "green", "slower": "red", "no difference shown": "dim", "some faster, some slower": "yellow"}
COLUMNS = ("model", "format", "prec.", "A ms", "B ms", "B / A [95 %]", "verdict", "doubt in A, B")

ROWS_HELP = "JOURNAL, JOURNAL@RUN or @RUN. RUN: a run id or its beginning, latest, previous."


def compare(
    base: Annotated[str, typer.Argument(metavar="A", help=f"The base: {ROWS_HELP}")],
    new: Annotated[str, typer.Argument(metavar="B", help="The new one, written alike.")],
    max_slowdown: Annotated[
        str | None, typer.Option(help="Exit with 1 if a pair is slower by more, e.g. 5%.", show_default="no limit")
    ] = None,
    measurements: Annotated[Path, typer.Option(help="Journal of @RUN.")] = JOURNAL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Compare B with A, row by row: is it faster, slower, or is no difference shown?

    Rows are paired by artifact, else by model, format and precision. Device, instrument, batch, threads, runtime,
    accelerator and whether the clocks were held must be alike; unlike rows are refused and the field is named. The
    artifact and the versions of runtime, toolkit and operating system may differ.

    Ratios are B's median / A's with a 95 % interval. Of many pairs some stand apart by chance, so a verdict other than
    "no difference shown" has to pass Benjamini and Hochberg's procedure over all pairs at 5 %.

    Exit code 1 if a pair's verdict is slower and its whole interval lies beyond --max-slowdown. An interval that
    reaches over the limit without lying beyond it is named and does not fail; more launches make it narrower.
    """
    limit = None if max_slowdown is None else share(max_slowdown, "--max-slowdown")
    base_rows, new_rows = select(base, measurements), select(new, measurements)
    comparison = compare_rows(base_rows.rows, new_rows.rows)
    if not comparison.pairs:
        reasons = "; ".join(f"{omission.what}: {omission.reason}" for omission in comparison.not_compared)
        raise UsageError(f"no row of {new_rows.name} can be held against one of {base_rows.name}. {reasons}")
    beyond = [] if limit is None else [pair for pair in comparison.pairs if pair.against(limit) == "beyond"]
    if as_json:
        answer(json.dumps(_as_document(comparison, base_rows.name, new_rows.name, limit), indent=2))
    else:
        _show(comparison, f"A {base_rows.name}, B {new_rows.name}")
        if limit is not None:
            _tell_limit(comparison.pairs, limit)
        answer(comparison.overall)
    return 1 if beyond else 0


def share(text: str, option: str) -> float:
    """A share from a percentage, "5%" -> 0.05.

    Raises:
        UsageError: it is not written as a percentage of 0 or more.
    """
    number, percent, rest = text.partition("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not percent or rest or not 0 <= value < math.inf:
        raise UsageError(f"{option} {text!r} is not a percentage. Write it like this: {option} 5%")
    return value / 100


def ratio_in_words(ratio: Interval) -> str:
    """A ratio and its interval, e.g. "1.052 [1.031, 1.074]"."""
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def label_in_colour(row: Measurement) -> str:
    """The row's label, marked up."""
    return f"[{STYLE[row.validity]}]{row.validity}[/]"


def _show(comparison: Comparison, title: str) -> None:
    shared = len({(pair.new.batch, pair.new.threads) for pair in comparison.pairs}) == 1
    first = comparison.pairs[0].new
    conditions = f", batch {first.batch}, threads {first.threads}" if shared else ""
    rows = [_cells(pair, with_conditions=not shared) for pair in comparison.pairs]
    show_compactly(table(escape(title + conditions), COLUMNS, rows))
    if not all(pair.ratio.knows_launches for pair in comparison.pairs):
        say("[yellow]*[/] one launch only: the interval does not know how much another launch would differ")
    if len(comparison.pairs) > 1:
        say(f"[dim]verdicts pass Benjamini and Hochberg's procedure over {len(comparison.pairs)} pairs at 5 %[/]")
    for line in _what_changed(comparison.pairs):
        say(f"[dim]{escape(line)}[/]")
    for omission in comparison.not_compared:
        say(f"[yellow]not compared:[/] {escape(omission.what)}: {escape(omission.reason)}")
    say(f"overall: [{COLOUR[comparison.overall]}]{comparison.overall}[/]")


def _cells(pair: Pair, *, with_conditions: bool) -> list[str]:
    row = pair.new
    conditions = f", batch {row.batch}, threads {row.threads}" if with_conditions else ""
    doubtful = pair.base.validity != "valid" or row.validity != "valid"
    return [
        escape(row.subject.name + conditions),
        row.subject.format,
        row.subject.precision,
        f"{summarize(pair.base.samples_ms).median_ms:.3f}",
        f"{summarize(row.samples_ms).median_ms:.3f}",
        escape(ratio_in_words(pair.ratio)) + ("" if pair.ratio.knows_launches else " *"),
        f"[{COLOUR[pair.verdict]}]{pair.verdict}[/]",
        f"{label_in_colour(pair.base)}, {label_in_colour(row)}" if doubtful else "",
    ]


def _what_changed(pairs: Sequence[Pair]) -> list[str]:
    """What differs between the sides beside the times, each change once."""
    changes: dict[str, int] = {}
    for pair in pairs:
        for difference in compared(pair.base, pair.new):
            if difference.field in ("artifact", "checkpoint"):
                text = f"another {difference.field} in B"
            else:
                text = f"{difference.field} {difference.base} in A, {difference.new} in B"
            changes[text] = changes.get(text, 0) + 1
    return [f"{text} ({count} of {len(pairs)} pairs)" for text, count in changes.items()]


def _tell_limit(pairs: Sequence[Pair], limit: float) -> None:
    for pair in pairs:
        against = pair.against(limit)
        name = f"{escape(what(pair.new))}: {escape(ratio_in_words(pair.ratio))}"
        if against == "beyond":
            say(f"[red]slower by more than {100 * limit:g} %:[/] {name}")
        elif against == "undecided":
            say(
                f"[yellow]may be slower by more than {100 * limit:g} %, not shown:[/] {name}; "
                "measure both sides with more --launches"
            )


def _as_document(comparison: Comparison, base: str, new: str, limit: float | None) -> dict[str, Any]:
    return {
        "base": base,
        "new": new,
        "overall": comparison.overall,
        "max_slowdown": limit,
        "pairs": [_pair_as_record(pair, limit) for pair in comparison.pairs],
        "not_compared": [_alone_as_record(omission) for omission in comparison.not_compared],
    }


def _pair_as_record(pair: Pair, limit: float | None) -> dict[str, Any]:
    subject = pair.new.subject
    return {
        "name": subject.name,
        "format": subject.format,
        "precision": subject.precision,
        "batch": pair.new.batch,
        "threads": pair.new.threads,
        "base_median_ms": summarize(pair.base.samples_ms).median_ms,
        "new_median_ms": summarize(pair.new.samples_ms).median_ms,
        "ratio": pair.ratio.value,
        "ratio_interval": [pair.ratio.low, pair.ratio.high],
        "knows_launches": pair.ratio.knows_launches,
        "p_value": pair.p_value,
        "verdict": pair.verdict,
        "against_limit": None if limit is None else pair.against(limit),
        "base_validity": pair.base.validity,
        "new_validity": pair.new.validity,
        "changed": {
            difference.field: [difference.base, difference.new] for difference in compared(pair.base, pair.new)
        },
    }


def _alone_as_record(omission: NotCompared) -> dict[str, str]:
    return {"what": omission.what, "reason": omission.reason}
