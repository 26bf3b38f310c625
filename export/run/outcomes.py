"""What came of an export, as a table for people and as JSON for programs."""

from collections.abc import Sequence

from rich.table import Table

from distill import terminal
from export.artifact.manifest import Delegation, Manifest, Parity
from export.run.making import Result

COLUMNS = ("artifact", "MB", "verdict", "agrees", "accuracy", "± points", "pieces")
"""Fits 80 columns. `agrees`: top-1 agreement with eager; `± points`: 95 % interval of the accuracy's difference from
eager's; `pieces`: of the graph that the accelerated backend took, 1 is best, + the operations left outside."""

UNKNOWN = "–"


def all_well(results: Sequence[Result]) -> bool:
    """Whether every artifact was made (or lay there) and either keeps its limits or was allowed not to."""
    return all(
        result.outcome.status in ("made", "unchanged")
        and result.manifest is not None
        and (result.manifest.parity.verdict != "fail" or result.manifest.allowed_loss)
        for result in results
    )


def table(title: str, results: Sequence[Result]) -> Table:
    """One row per artifact."""
    return terminal.table(title, COLUMNS, [row(result) for result in results])


def row(result: Result) -> list[str]:
    """One line of the table, as markup."""
    outcome, manifest = result.outcome, result.manifest
    target = outcome.task.target
    name = f"{target.format} {target.precision}" + ("" if target.batch == 1 else f" {target.batch_words}")
    if manifest is None:
        return [name, "", "[red]failed[/]", "", "", "", ""]
    parity = manifest.parity
    return [
        name,
        f"{manifest.size_bytes / 1e6:.2f}",
        verdict(result, manifest),
        _percent(parity.top1_agreement),
        _percent(parity.accuracy),
        _interval(parity),
        _pieces(manifest.delegation),
    ]


def verdict(result: Result, manifest: Manifest) -> str:
    """The verdict as markup; what was refused, or allowed to fail, says so."""
    if result.outcome.status == "refused":
        return "[red]refused[/]"
    colour = {"pass": "green", "fail": "red", "not-run": "yellow"}[manifest.parity.verdict]
    return f"[{colour}]{manifest.parity.verdict}[/]{' (allowed)' if manifest.allowed_loss else ''}"


def as_record(result: Result) -> dict[str, object]:
    """One entry of `--json`; `manifest` is null if the artifact could not be made."""
    outcome, manifest = result.outcome, result.manifest
    task = outcome.task
    return {
        "format": task.target.format,
        "precision": task.target.precision,
        "batch": task.target.batch,
        "status": outcome.status,
        "folder": str(task.folder),
        "log": str(task.log),
        "seconds": round(outcome.seconds, 3),
        "cause": outcome.cause or None,
        "size_bytes": manifest.size_bytes if manifest else None,
        "manifest": manifest.model_dump(mode="json") if manifest else None,
    }


def images_in_words(results: Sequence[Result]) -> str:
    """How many images of which kind the table's figures come from."""
    kinds = {
        (result.manifest.parity.num_images, result.manifest.parity.images)
        for result in results
        if result.manifest and result.manifest.parity.num_images
    }
    return ", ".join(f"{count} {images} images" for count, images in sorted(kinds)) or "nothing"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2%}"


def _interval(parity: Parity) -> str:
    if parity.accuracy_interval is None:
        return UNKNOWN
    low, high = parity.accuracy_interval
    return f"{low * 100:+.1f} {high * 100:+.1f}"


def _pieces(delegation: Delegation | None) -> str:
    if delegation is None:
        return UNKNOWN
    left = sum(delegation.undelegated.values())
    return f"{delegation.pieces}" + (f"+{left}" if left else "")
