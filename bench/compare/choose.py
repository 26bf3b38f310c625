"""`python -m bench choose`: the model to ship, inside a budget of latency, bytes, accuracy and memory."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bench.compare.choice import ONLY_NOISY, Budget, Candidate, Choice, Kill, Limit, Trade, choose
from bench.compare.compare import ratio_in_words
from bench.compare.conditions import device_of, what
from bench.compare.tables import MISSING, show_compactly
from bench.record import Device, Measurement
from bench.session.cells import ARTIFACTS, find_artifacts
from bench.session.journal import JOURNAL, open_journal
from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.terminal import answer, product, say, table
from export.artifact.manifest import MANIFEST_FILE

KINDS = ("cpu", "cuda", "android")


def choose_command(
    max_latency_ms: Annotated[
        float | None, typer.Option(min=0, help="Per call; the upper end of the median's 95 % interval.")
    ] = None,
    max_size_mb: Annotated[float | None, typer.Option(min=0, help="Of the model on disk, 10^6 bytes.")] = None,
    min_relative_accuracy: Annotated[
        float | None, typer.Option(min=0, help="Share of the teacher's accuracy, e.g. 0.98.")
    ] = None,
    max_memory_mb: Annotated[
        float | None, typer.Option(min=0, help="Peak of the process, runtime included, 10^6 bytes.")
    ] = None,
    device: Annotated[str, typer.Option(help=f"What it runs on: {', '.join(KINDS)}.")] = "cpu",
    on: Annotated[
        str | None, typer.Option(help="Which one, if several were measured: part of name, serial or instrument.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per call.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    artifacts: Annotated[
        list[Path] | None,
        typer.Option(help="Choose only among artifacts in this folder; may be repeated.", show_default="all measured"),
    ] = None,
    allow_noisy: Annotated[
        bool, typer.Option("--allow-noisy", help="Noisy and drifting rows count, by the upper end of their interval.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Choose the model to ship from what was measured, inside a budget.

    The most accurate candidate inside the budget wins. Those whose accuracy is not shown to differ from the best (95 %
    interval of the difference on the held-out images; paired for exports of one checkpoint) are tied, and of those the
    fastest wins. Of every artifact the newest valid row counts; failed, noisy, emulated and untrained ones are left
    out and counted. With --allow-noisy a noisy row counts where there is no valid one.

    Exit code 1 if nothing fits; then the limit that stands most in the way and the nearest miss are named.
    """
    budget = Budget(max_latency_ms, max_size_mb, min_relative_accuracy, max_memory_mb)
    if not budget.limits():
        raise UsageError("a budget is missing: give at least one limit, e.g. --max-latency-ms 5.")
    if device not in KINDS:
        raise UsageError(f"there is no device {device!r}; choose for one of {', '.join(KINDS)}.")
    journal = open_journal(measurements)
    rows = of_one_device(_under(journal, device, batch, threads, measurements), on)
    folders = _folders(artifacts) if artifacts else {}
    if artifacts:
        rows = [row for row in rows if row.subject.manifest_sha256 in folders]
    found = choose(rows, budget, journal=journal, allow_noisy=allow_noisy)
    if not found.candidates:
        raise UsageError(f"there is nothing to choose from. {_counted(found)}{_way_out(found)}")
    winner = found.winner
    folder = _folder_of(winner, folders) if winner else None
    if as_json:
        answer(json.dumps(as_document(found, rows[0].device, folder), indent=2))
    else:
        show(found, f"{device}: {rows[0].device.name}, batch {batch}, threads {threads}")
        if winner:
            _tell_next(winner, folder)
    return 0 if winner else 1


def of_one_device(rows: Sequence[Measurement], on: str | None) -> list[Measurement]:
    """The rows of the one device (with its instrument, clocks held or free) they can be chosen on.

    Raises:
        UsageError: there are several and `on` does not say which, or no row is of `on`.
    """
    groups: dict[Hashable, list[Measurement]] = {}
    for row in rows:
        if on is None or on.lower() in _place(row).lower():
            groups.setdefault(device_of(row), []).append(row)
    # Emulated rows are counted, never chosen, so they make no choice of device necessary.
    real = [group for group in groups.values() if not group[0].device.emulated]
    if len(real) == 1:
        return real[0] + [row for group in groups.values() if group[0].device.emulated for row in group]
    places = ", ".join(dict.fromkeys(_place(row) for row in rows))
    if not groups:
        raise UsageError(f"nothing was measured on {on!r}; there is: {places}.")
    if not real:
        return [row for group in groups.values() for row in group]
    raise UsageError(
        f"rows of {len(real)} devices or ways of measuring are not to be mixed. Name one with --on: {places}."
    )


def show(found: Choice, title: str) -> None:
    """Print the front, the winner and why, or why nothing fits, on stderr."""
    special = [one for one in (found.winner, found.runner_up, found.nearest_miss) if one is not None]
    shown = [one for one in found.candidates if one in found.front or one in special]
    columns = ["candidate", "median ms [95 %]", "MB", "acc. %", "relative", "peak MB", "front", "budget"]
    show_compactly(table(escape(title), columns, [_cells(one, found) for one in shown]))
    hidden = len(found.candidates) - len(shown)
    if hidden:
        say(f"[dim]{hidden} more candidates are beaten by another in latency, size and accuracy at once[/]")
    doubtful = sum(one.row.validity != "valid" for one in found.candidates)
    if doubtful:
        of_all = f"{doubtful} of {len(found.candidates)} rows"
        say(f"[yellow]caution:[/] {of_all} are noisy or drifting, as --allow-noisy allows")
    if found.excluded:
        say(f"[yellow]left out:[/] {escape(_counted(found))}")
    say(f"[dim]relative accuracy: to {escape(found.reference)}[/]")
    if " or the teacher " in found.reference:
        say("[yellow]caution:[/] several teachers; if their data differ, choose among some with --artifacts FOLDER")
    if found.winner:
        _tell_winner(found, found.winner)
    else:
        _tell_nothing_fits(found)


def as_document(found: Choice, device: Device, folder: Path | None) -> dict[str, Any]:
    """The choice as one JSON document."""
    return {
        "device": device.model_dump(mode="json"),
        "budget": {limit.option: limit.value for limit in found.limits},
        "reference": found.reference,
        "winner": found.winner and _record(found.winner, found),
        "winner_folder": None if folder is None else str(folder),
        "runner_up": found.runner_up and _record(found.runner_up, found),
        "tied": [one.name for one in found.tied],
        "trades": [_trade_record(one) for one in found.trades],
        "candidates": [_record(one, found) for one in found.candidates],
        "excluded": [{"what": what(one.row), "reason": one.reason} for one in found.excluded],
        "kills": [_kill_record(one) for one in found.kills],
        "nearest_miss": found.nearest_miss and _record(found.nearest_miss, found),
    }


def _under(journal: Sequence[Measurement], kind: str, batch: int, threads: int, path: Path) -> list[Measurement]:
    asked = (kind, batch, threads)
    rows = [row for row in journal if (row.device.kind, row.batch, row.threads) == asked]
    if not rows:
        there = sorted({(row.device.kind, row.batch, row.threads) for row in journal})
        measured = "; ".join(f"{kind}, batch {batch}, threads {threads}" for kind, batch, threads in there)
        raise UsageError(
            f"{path} holds no row of {kind}, batch {batch}, threads {threads}. It holds: {measured}. Measure with: "
            f"python -m bench ARTIFACT --device {kind} --batch {batch} --threads {threads}"
        )
    return rows


def _place(row: Measurement) -> str:
    device = row.device
    parts = (device.name, device.instrument, device.serial, "clocks held" if row.conditions.fixed_performance else None)
    return " ".join(part for part in parts if part)


def _folders(places: Sequence[Path]) -> dict[str, Path]:
    """Artifact folders by the hash of their manifest."""
    return {sha256_of_file(folder / MANIFEST_FILE): folder for folder in find_artifacts(places)}


def _folder_of(winner: Candidate, folders: dict[str, Path]) -> Path | None:
    if not folders and ARTIFACTS.is_dir():
        folders = {sha256_of_file(path): path.parent for path in sorted(ARTIFACTS.rglob(MANIFEST_FILE))}
    return folders.get(winner.row.subject.manifest_sha256)


def _tell_next(winner: Candidate, folder: Path | None) -> None:
    if folder is None:
        say(
            f"[yellow]its artifact is not in {ARTIFACTS}:[/] manifest {winner.row.subject.manifest_sha256[:12]}…; "
            "name the folder that holds it with --artifacts"
        )
        answer(winner.name)
    elif winner.row.device.kind == "cuda":
        product(folder, f"it is served as it lies in {escape(str(folder))}")
    else:
        product(folder, f"python -m export bundle {escape(str(folder))}, then make app: the demo app carries it")


def _cells(one: Candidate, found: Choice) -> list[str]:
    return [
        escape(one.name) + ("" if one.row.validity == "valid" else f" [yellow]{one.row.validity}[/]"),
        escape(f"{one.latency_ms.value:.3f} [{one.latency_ms.low:.3f}, {one.latency_ms.high:.3f}]"),
        f"{one.size_bytes / 1e6:.2f}",
        f"{100 * one.accuracy.share:.2f}",
        f"{one.relative_accuracy:.3f}",
        MISSING if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f}",
        "●" if one in found.front else "",
        _outcome(one, found),
    ]


def _outcome(one: Candidate, found: Choice) -> str:
    if one is found.winner:
        return "[green]winner[/]"
    if one is found.runner_up:
        return "runner-up"
    broken = _broken(one, found.limits)
    return f"[dim]breaks {', '.join(broken)}[/]" if broken else "inside"


def _broken(one: Candidate, limits: Sequence[Limit]) -> list[str]:
    return [limit.option for limit in limits if not limit.keeps(one)]


def _tell_winner(found: Choice, winner: Candidate) -> None:
    say(f"[green]winner:[/] {escape(winner.name)}, {len(found.fitting)} of {len(found.candidates)} are inside")
    if len(found.tied) > 1:
        say(
            f"{len(found.tied)} candidates inside are not shown to differ in accuracy from the best of them on "
            f"{winner.accuracy.images} images; of those it is the fastest"
        )
    else:
        say("it is the most accurate inside the budget")
    for one in found.trades:
        role = "runner-up" if one.other is found.runner_up else "most accurate of all"
        say(f"against the {role}, {escape(one.other.name)}: {escape(_trade_in_words(one))}")


def _trade_in_words(trade: Trade) -> str:
    points = 100 * trade.accuracy.value
    shown = "" if trade.accuracy.is_shown else ", not shown to differ"
    paired = ", paired" if trade.accuracy.is_paired else ""
    accuracy = f"accuracy {points:+.2f} points (± {100 * trade.accuracy.half_width:.2f}{paired}{shown})"
    return f"{accuracy}; latency × {ratio_in_words(trade.latency)}, {trade.latency.verdict}; bytes × {trade.size:.3f}"


def _tell_nothing_fits(found: Choice) -> None:
    say(f"[red]nothing fits:[/] none of {len(found.candidates)} candidates keeps every limit")
    for number, kill in enumerate(found.kills):
        first = "most in the way: " if number == 0 and len(found.kills) > 1 else ""
        say(f"{first}{kill.limit.option} {kill.limit.value:g}: {_kill_in_words(kill, len(found.candidates))}")
    nearest = found.nearest_miss
    if nearest is not None:
        needed = [f"{limit.option} {_needed(limit, nearest)}" for limit in found.limits if not limit.keeps(nearest)]
        say(f"nearest miss: {escape(nearest.name)}; it would need {', '.join(needed)}")


def _kill_in_words(kill: Kill, count: int) -> str:
    broken = f"{kill.breaking} of {count} break it"
    if kill.alone_candidate is None:
        return f"{broken}; loosening it alone does not help"
    return f"{broken}; alone it would have to be {_needed(kill.limit, kill.alone_candidate)}"


def _needed(limit: Limit, candidate: Candidate) -> str:
    """The value a limit would need, rounded to its loose side, and how much looser that is."""
    value = limit.of(candidate)
    if value is None:
        return "(not measured)"
    rounded = value - 0.0005 if limit.is_least else value + 0.0005
    return f"{rounded:.3f} ({limit.looser(candidate):.2f} × looser)"


def _counted(found: Choice) -> str:
    reasons = Counter(one.reason for one in found.excluded)
    return "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common()) or "No row is left."


def _way_out(found: Choice) -> str:
    if not any(one.row.validity in ONLY_NOISY for one in found.excluded):
        return ""
    return ". Measure again on a quiet machine, or let noisy rows count by how badly they are known: --allow-noisy"


def _record(one: Candidate, found: Choice) -> dict[str, Any]:
    subject = one.row.subject
    return {
        "name": subject.name,
        "format": subject.format,
        "precision": subject.precision,
        "manifest_sha256": subject.manifest_sha256,
        "median_ms": one.latency_ms.value,
        "median_interval_ms": [one.latency_ms.low, one.latency_ms.high],
        "size_bytes": one.size_bytes,
        "validity": one.row.validity,
        "accuracy": one.accuracy.share,
        "accuracy_images": one.accuracy.images,
        "relative_accuracy": one.relative_accuracy,
        "peak_memory_bytes": one.memory_bytes,
        "is_teacher": one.is_teacher,
        "on_front": one in found.front,
        "breaks": _broken(one, found.limits),
    }


def _trade_record(one: Trade) -> dict[str, Any]:
    return {
        "other": one.other.name,
        "accuracy_difference": one.accuracy.value,
        "accuracy_half_width": one.accuracy.half_width,
        "latency_ratio": one.latency.value,
        "latency_ratio_interval": [one.latency.low, one.latency.high],
        "size_ratio": one.size,
    }


def _kill_record(one: Kill) -> dict[str, Any]:
    return {"limit": one.limit.option, "breaking": one.breaking, "alone": one.alone}
