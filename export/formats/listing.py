"""python -m export formats: every format in every precision, how it is reached, or why there is none."""

import importlib.util
import json
import platform
from typing import Annotated

import typer

from distill import terminal
from export.artifact.manifest import FormatName, PrecisionName
from export.artifact.runner import RUNNERS
from export.formats import FORMATS, PRECISIONS, missing_packages

COLUMNS = ("precision", "how, or why not", "calibrated")


def formats(
    as_json: Annotated[bool, typer.Option("--json", help="the table as JSON on stdout")] = False,
) -> None:
    """Show every format and precision: what exists, how it is reached, what is missing here, and why not otherwise."""
    records = [record(name) for name in FORMATS]
    if as_json:
        print(json.dumps(records, indent=2))
        return
    for name, entry in zip(FORMATS, records, strict=True):
        rows = [pair_row(name, precision) for precision in PRECISIONS]
        terminal.console.print(terminal.table(f"[bold]{name}[/]  {in_words(entry)}", COLUMNS, rows))


def record(name: FormatName) -> dict[str, object]:
    """One format, for programs."""
    entry = FORMATS[name]
    return {
        "format": name,
        "missing_packages": missing_packages(name),
        "extra": entry.extra,
        "runs_here": why_not_run(name) is None,
        "why_not_run": why_not_run(name),
        "refused_batches": dict(entry.refused_batches),
        "precisions": [
            {
                "precision": precision,
                "exists": precision in entry.schemes,
                "scheme": entry.schemes[precision].words if precision in entry.schemes else None,
                "calibrated": precision in entry.schemes and entry.schemes[precision].calibrated,
                "usual": precision in entry.usual and not entry.variant,
                "why_not": entry.why_not(precision),
            }
            for precision in PRECISIONS
        ],
    }


def why_not_run(name: FormatName) -> str | None:
    """Why an artifact of this format cannot run on this machine, or None."""
    entry = RUNNERS.get(name)
    if entry is None:
        return f"there is no runtime for it on {platform.system()}"
    if importlib.util.find_spec(entry.package.replace("-", "_")) is None:
        return f"{entry.package} is not installed"
    return None


def in_words(entry: dict[str, object]) -> str:
    """The line above a format's rows: can it be made here, can it run here, in which batches."""
    missing, batches = entry["missing_packages"], entry["refused_batches"]
    assert isinstance(missing, list)
    assert isinstance(batches, dict)
    install = f"needs {', '.join(missing)}: pip install 'pocket-distill\\[{entry['extra']}]'" if missing else ""
    made = f"[red]{install}[/]" if missing else "[green]can be made here[/]"
    runs = "[green]runs here[/]" if entry["runs_here"] else f"[yellow]not run here: {entry['why_not_run']}[/]"
    reasons = sorted({str(reason) for reason in batches.values()})
    batch = f"batch 1 only ({'; '.join(reasons)})" if len(batches) == 2 else "any batch"
    if len(batches) == 1:
        batch = f"no {next(iter(batches))} batch ({reasons[0]})"
    return f"{made}, {runs}, {batch}"


def pair_row(name: FormatName, precision: PrecisionName) -> list[str]:
    """One precision of a format, as markup."""
    entry = FORMATS[name]
    scheme = entry.schemes.get(precision)
    if scheme is None:
        return [f"[dim]{precision}[/]", f"[dim]– {entry.why_not(precision)}[/]", ""]
    return [precision, scheme.words, "on images" if scheme.calibrated else "no"]
