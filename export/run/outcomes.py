"""What came of an export, as a table for people and as JSON for programs."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from distill import terminal
from distill.vision.tasks import ACCURACY, TASKS
from export.artifact.manifest import Delegation, Manifest
from export.proof.classes import recalls
from export.proof.limits import FLOAT_MIN_AGREEMENT
from export.run.making import Result

COLUMNS = ("artifact", "MB", "verdict", "agrees", "{title}", "kept %", "pieces")
"""Fits 80 columns. `agrees`: top-1 agreement with eager, of pixels where each is answered; then the task's measure;
`kept %`: 95 % interval of the share of eager's that is kept; `pieces`: of the graph that the
accelerated backend took, 1 is best, + the operations left outside."""

HIDDEN = ("artifact", "confidence %", "calibration error %", "worst class", "recall %")
"""What accuracy alone does not show, of eager and then of the artifact; the class is the one that falls furthest."""

UNKNOWN = "–"
ALTERNATIVES = 3


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
    measured = next((TASKS[result.manifest.task].measure for result in results if result.manifest), ACCURACY)
    columns = [column.format_map(measured.words) for column in COLUMNS]
    return terminal.table(title, columns, [row(result) for result in results])


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
        _quality(manifest),
        _interval(parity.kept_interval),
        _pieces(manifest.delegation),
    ]


def _quality(manifest: Manifest) -> str:
    """By the task's measure, with its unit where that is not a percentage."""
    quality, measure = manifest.parity.quality, TASKS[manifest.task].measure
    if measure.unit == "%":
        return _percent(manifest.share_right)
    return UNKNOWN if quality is None else measure.shown(quality)


def works_instead(results: Sequence[Result]) -> list[str]:
    """For each artifact that there is none of, what is nearest to it among those that were proven; a line each.

    Nearest is the same format in another precision, then the same precision in another format.
    """
    right = [
        result.outcome.task.target
        for result in results
        if result.manifest is not None
        and result.outcome.status in ("made", "unchanged")
        and result.manifest.parity.verdict == "pass"
        and result.outcome.task.target.format != "eager"
    ]
    lines: list[str] = []
    for result in results:
        target = result.outcome.task.target
        near = [other for other in right if other.format == target.format]
        near += [other for other in right if other.format != target.format and other.precision == target.precision]
        if result.outcome.status in ("refused", "failed") and near:
            names = ", ".join(f"{other.format} {other.precision}" for other in near[:ALTERNATIVES])
            lines.append(f"in place of {target.format} {target.precision}: {names}")
    return lines


def judged_on_more(results: Sequence[Result]) -> list[str]:
    """For each artifact that took more images than others to judge, how many, and what eager has on those; a line each.

    Else its figure beside the others' would say the opposite of its verdict.
    """
    judged = [result.manifest for result in results if result.manifest and result.manifest.parity.num_images]
    fewest = min((manifest.parity.num_images for manifest in judged), default=0)
    lines: list[str] = []
    for manifest in judged:
        parity, measure = manifest.parity, TASKS[manifest.task].measure
        if parity.num_images > fewest and parity.eager_quality is not None:
            lines.append(
                f"{manifest.format} {manifest.precision} was judged on {parity.num_images:,} images, where eager's "
                f"{measure.title} is {measure.shown(parity.eager_quality)}"
            )
    return lines


def shared_notes(results: Sequence[Result]) -> list[str]:
    """What every artifact says that was made, in their order: of the network rather than of a format."""
    notes = [result.manifest.notes for result in results if result.manifest]
    return [note for note in notes[0] if all(note in others for others in notes)] if notes else []


def hidden_table(results: Sequence[Result]) -> Table | None:
    """What accuracy alone does not show of the artifacts that were judged by it; None without any."""
    manifests = [result.manifest for result in results if result.manifest]
    rows = [hidden_row(manifest) for manifest in manifests if manifest.parity.class_images and is_quantized(manifest)]
    return terminal.table("eager, then the artifact", HIDDEN, rows) if rows else None


def is_quantized(manifest: Manifest) -> bool:
    """Whether it may lose some accuracy."""
    return manifest.precision not in FLOAT_MIN_AGREEMENT


def hidden_row(manifest: Manifest) -> list[str]:
    """One line of that table, as markup."""
    parity, worst = manifest.parity, recalls(manifest.parity)[0]
    return [
        f"{manifest.format} {manifest.precision}",
        _both(parity.eager_confidence, parity.confidence),
        _both(parity.eager_calibration_error, parity.calibration_error),
        escape(manifest.class_names[worst.number]),
        _both(worst.eager_correct / worst.images, worst.correct / worst.images),
    ]


def verdict(result: Result, manifest: Manifest) -> str:
    """The verdict as markup; what was refused, or allowed to fail, says so."""
    if result.outcome.status == "refused":
        return "[red]refused[/]"
    colour = {"pass": "green", "open": "yellow", "fail": "red", "not-run": "yellow"}[manifest.parity.verdict]
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


def _interval(shares: tuple[float, float] | None) -> str:
    return UNKNOWN if shares is None else f"{shares[0] * 100:.1f}–{shares[1] * 100:.1f}"


def _both(eager: float | None, ours: float | None) -> str:
    return UNKNOWN if eager is None or ours is None else f"{eager:.1%} {ours:.1%}".replace("%", "")


def _pieces(delegation: Delegation | None) -> str:
    if delegation is None:
        return UNKNOWN
    left = sum(delegation.undelegated.values())
    return f"{delegation.pieces}" + (f"+{left}" if left else "")
