"""`python -m bench choose`: the model to ship, inside a budget of latency, bytes, accuracy and memory."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from bench.compare.app_bytes import RuntimeBytesOption, in_words, runtime_bytes
from bench.compare.choice import (
    Budget,
    Candidate,
    Choice,
    Contender,
    Excluded,
    Limit,
    LimitEffect,
    Relative,
    Trade,
    choose,
    remedy,
)
from bench.compare.compare import ratio_in_words
from bench.compare.conditions import device_of, place_of, what
from bench.compare.counted import latency_that_counts, with_samples_that_count
from bench.compare.fleet import NOT_MEASURED_ON, phones_of, worst_of
from bench.compare.rehearsal import RehearseOption, counted
from bench.compare.tables import MISSING, show_compactly
from bench.record import Device, Latency, Measurement
from bench.record.carried import RuntimeBytes
from bench.session.cells import ARTIFACTS, find_artifacts
from bench.session.journal import JOURNAL, open_journal
from distill.contract import sha256_of_file
from distill.errors import UsageError
from distill.terminal import answer, product, say, table
from export.artifact.manifest import MANIFEST_FILE

KINDS = ("cpu", "cuda", "android")

LATENCY_IN_WORDS: dict[Latency, str] = {"model": "the model's call", "pipeline": "the whole path"}
LatencyOption = Annotated[
    Latency | None,
    typer.Option(
        help="What counts: the model's call, or the pipeline from picture to answer.",
        show_default="pipeline on phones where it was timed",
    ),
]


def choose_command(
    max_latency_ms: Annotated[
        float | None, typer.Option(min=0, help="Per call; the upper end of the median's 95 % interval.")
    ] = None,
    max_size_mb: Annotated[
        float | None, typer.Option(min=0, help="Of the model on disk, 10^6 bytes; on phones with its runtime.")
    ] = None,
    min_relative_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Share of the teacher's accuracy (of masks the mIoU, of depth δ < 1.25), e.g. 0.98; the lower end of "
            "its 95 % interval, paired by image.",
        ),
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
    latency: LatencyOption = None,
    sustained: Annotated[
        bool,
        typer.Option("--sustained", help="What remains when the phone is warm: the last minutes of sustained rows."),
    ] = False,
    per_phone: Annotated[
        bool, typer.Option("--per-phone", help="One choice for each phone; else one for all of them.")
    ] = False,
    measurements: Annotated[Path, typer.Option(help="Journal to read.")] = JOURNAL,
    artifacts: Annotated[
        list[Path] | None,
        typer.Option(help="Choose only among artifacts in this folder; may be repeated.", show_default="all measured"),
    ] = None,
    runtime_bytes_file: RuntimeBytesOption = None,
    rehearse: RehearseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Choose the model to ship from what was measured, inside a budget.

    The most accurate candidate inside the budget wins: by mIoU for masks, by the share of the pixels within a factor of
    1.25 for depth. Those whose accuracy is not shown to differ from the best (95 %
    interval of the difference on the held-out images; paired for exports of one checkpoint) are tied, and of those the
    fastest wins. Of every artifact the newest valid row counts, or else the newest noisy or drifting one: it is known
    within a wider interval, of which the upper end has to keep the limit. Failed, throttled, emulated and untrained
    ones are left out and counted, and so are those whose answers are wrong. Who might win if latencies were known
    better is named, with what would tell.

    On phones the bytes are the model's and those that its runtime adds to the app, as `android_demo weigh` found them.
    The whole path counts there, from picture to answer, where any row has it. Several phones in the journal get one
    model, the one whose worst phone is best, or with --per-phone one each.

    Exit code 1 if nothing is shown to fit; then the limit that stands most in the way and the nearest miss are named.
    """
    budget = Budget(max_latency_ms, max_size_mb, min_relative_accuracy, max_memory_mb)
    if not budget.limits():
        raise UsageError("a budget is missing: give at least one limit, e.g. --max-latency-ms 5.")
    if device not in KINDS:
        raise UsageError(f"there is no device {device!r}; choose for one of {', '.join(KINDS)}.")
    journal = counted(open_journal(measurements), rehearse=rehearse)
    if per_phone and device != "android":
        raise UsageError(f"--per-phone is for phones and has no effect on {device}. Leave it out.")
    under = _under(journal, device, batch, threads, measurements)
    phones = several_phones(under) if device == "android" and on is None else {}
    rows = under if phones else of_one_device(under, on)
    folders = _folders(artifacts) if artifacts else {}
    if artifacts:
        rows = [row for row in rows if row.subject.manifest_sha256 in folders]
    _require_one_task(rows, measurements)
    counts = latency_that_counts(rows, latency)
    rows, left_out = with_samples_that_count(rows, counts, sustained=sustained)
    carried = runtime_bytes(device, runtime_bytes_file)
    how = f"batch {batch}, threads {threads}, {LATENCY_IN_WORDS[counts]}{', warm' if sustained else ''}"
    how += f", {in_words(carried)}" if device == "android" else ""
    if per_phone:
        return _choose_per_phone(rows, left_out, budget, journal, folders, how, carried, as_json=as_json)
    where = rows[0].device.name if rows else ""
    if phones:
        by_phone = phones_of([row for row in rows if not row.device.emulated])
        where = f"the worst of {len(phones)} phones"
        rows, lacking = worst_of({phone: by_phone.get(phone, []) for phone in phones})
        left_out = [*left_out, *lacking]
    choice = choose(rows, budget, journal=journal, left_out=left_out, carried=carried)
    if not choice.candidates:
        raise UsageError(f"there is nothing to choose from. {_counted(choice)}")
    winner = choice.winner
    folder = _folder_of(winner, folders) if winner else None
    if as_json:
        answer(json.dumps(as_document(choice, rows[0].device, folder, counts, sustained=sustained), indent=2))
    else:
        show(choice, f"{device}: {where}, {how}")
        _tell_missing_phones(choice)
        if winner:
            _tell_next(winner, folder)
    return 0 if winner else 1


def _require_one_task(rows: Sequence[Measurement], path: Path) -> None:
    """Raises UsageError if models of several tasks would be chosen among."""
    tasks = sorted({row.subject.task for row in rows})
    if len(tasks) > 1:
        raise UsageError(
            f"{path} holds models for several tasks, which are not to be mixed: {', '.join(tasks)}. Name the folder "
            "with the artifacts of one: --artifacts FOLDER."
        )


def several_phones(rows: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The rows of each real phone, if there are several; empty if one of them was measured in several ways."""
    phones = phones_of([row for row in rows if not row.device.emulated])
    serials = {group[0].device.serial for group in phones.values()}
    return phones if len(phones) > 1 and len(serials) == len(phones) else {}


def _choose_per_phone(
    rows: Sequence[Measurement],
    left_out: Sequence[Excluded],
    budget: Budget,
    journal: Sequence[Measurement],
    folders: dict[str, Path],
    how: str,
    carried: RuntimeBytes | None,
    *,
    as_json: bool,
) -> int:
    """One choice for each phone; exit code 1 if one of them has none."""
    documents: list[dict[str, Any]] = []
    winners: dict[str, Candidate | None] = {}
    for phone, group in phones_of([row for row in rows if not row.device.emulated]).items():
        here = [excluded for excluded in left_out if place_of(excluded.row) == phone]
        choice = choose(group, budget, journal=journal, left_out=here, carried=carried)
        winners[phone] = choice.winner
        folder = _folder_of(choice.winner, folders) if choice.winner else None
        if as_json:
            documents.append({"phone": phone, **as_document(choice, group[0].device, folder)})
        else:
            show(choice, f"{phone}, {how}")
    if not winners:
        raise UsageError("there is no phone to choose for: every row is of an emulated one, or lacks what counts.")
    if as_json:
        answer(json.dumps({"phones": documents}, indent=2))
    else:
        for phone, winner in winners.items():
            say(f"{escape(phone)}: {escape(winner.name) if winner else '[red]nothing fits[/]'}")
        answer("\n".join(dict.fromkeys(winner.name for winner in winners.values() if winner)))
    return 0 if all(winners.values()) else 1


def _tell_missing_phones(choice: Choice) -> None:
    for excluded in choice.excluded:
        if excluded.reason.startswith(NOT_MEASURED_ON):
            say(f"[yellow]{escape(what(excluded.row))}:[/] {escape(excluded.reason)}, so it is no candidate for all")


def of_one_device(rows: Sequence[Measurement], on: str | None) -> list[Measurement]:
    """The rows of the one device (with its instrument, clocks held or free) they can be chosen on.

    Raises:
        UsageError: there are several and `on` does not say which, or no row is of `on`.
    """
    groups: dict[Hashable, list[Measurement]] = {}
    for row in rows:
        if on is None or on.lower() in place_of(row).lower():
            groups.setdefault(device_of(row), []).append(row)
    # Emulated rows are counted, never chosen, so they make no choice of device necessary.
    real = [group for group in groups.values() if not group[0].device.emulated]
    if len(real) == 1:
        return real[0] + [row for group in groups.values() if group[0].device.emulated for row in group]
    places = ", ".join(dict.fromkeys(place_of(row) for row in rows))
    if not groups:
        raise UsageError(f"nothing was measured on {on!r}; there is: {places}.")
    if not real:
        return [row for group in groups.values() for row in group]
    raise UsageError(
        f"rows of {len(real)} devices or ways of measuring are not to be mixed. Name one with --on: {places}."
    )


def show(choice: Choice, title: str) -> None:
    """Print the front, the winner and why, or why nothing fits, on stderr."""
    special = {choice.winner, choice.runner_up, choice.nearest_miss, *(rival.candidate for rival in choice.contenders)}
    special.update(choice.on_front)
    shown = [candidate for candidate in choice.candidates if candidate in special]
    told = choice.measure.words
    columns = ["candidate", "median ms [95 %]", "MB", f"{told['short']} %", "relative", "peak MB", "front", "budget"]
    show_compactly(table(escape(title), columns, [_cells(candidate, choice) for candidate in shown]))
    hidden = len(choice.candidates) - len(shown)
    if hidden:
        say(f"[dim]{hidden} more candidates are beaten by another in latency, size and {told['title']} at once[/]")
    if choice.excluded:
        say(f"[yellow]left out:[/] {escape(_counted(choice))}")
    say(f"[dim]relative {told['title']}: to {escape(choice.reference)}, {_pairing(choice)}[/]")
    paths = [candidate.row.path for candidate in choice.candidates if candidate.row.is_of_path]
    pictures = {path.pictures_sha256 for path in paths if path is not None}
    if len(pictures) > 1:
        say("[yellow]caution:[/] whole paths were timed with different pictures; name one for all with --picture FILE")
    if " or the teacher " in choice.reference:
        say("[yellow]caution:[/] several teachers; if their data differ, choose among some with --artifacts FOLDER")
    if choice.winner:
        _tell_winner(choice, choice.winner)
    else:
        _tell_nothing_fits(choice)
    _tell_contenders(choice)


def as_document(
    choice: Choice, device: Device, folder: Path | None, latency: Latency = "model", *, sustained: bool = False
) -> dict[str, Any]:
    """The choice as one JSON document."""
    return {
        "device": device.model_dump(mode="json"),
        "latency": latency,
        "sustained": sustained,
        "budget": {limit.option: limit.value for limit in choice.limits},
        "measure": choice.measure.name,
        "reference": choice.reference,
        "winner": choice.winner and _record(choice.winner, choice),
        "winner_folder": None if folder is None else str(folder),
        "runner_up": choice.runner_up and _record(choice.runner_up, choice),
        "tied": [candidate.name for candidate in choice.tied],
        "contenders": [_contender_record(contender) for contender in choice.contenders],
        "trades": [_trade_record(trade) for trade in choice.trades],
        "candidates": [_record(candidate, choice) for candidate in choice.candidates],
        "excluded": [{"what": what(excluded.row), "reason": excluded.reason} for excluded in choice.excluded],
        "kills": [_effect_record(effect) for effect in choice.limit_effects],
        "nearest_miss": choice.nearest_miss and _record(choice.nearest_miss, choice),
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


def _cells(candidate: Candidate, choice: Choice) -> list[str]:
    return [
        escape(candidate.name) + ("" if candidate.row.validity == "valid" else f" [yellow]{candidate.row.validity}[/]"),
        escape(f"{candidate.latency_ms.value:.3f} [{candidate.latency_ms.low:.3f}, {candidate.latency_ms.high:.3f}]"),
        f"{candidate.size_bytes / 1e6:.2f}",
        f"{100 * candidate.accuracy.share:.2f}",
        relative_in_words(candidate.relative_accuracy),
        MISSING if candidate.memory_bytes is None else f"{candidate.memory_bytes / 1e6:.0f}",
        "●" if candidate in choice.on_front else "",
        _outcome(candidate, choice),
    ]


def relative_in_words(relative: Relative) -> str:
    """A share of the teacher's accuracy, with its interval where both answered the same images."""
    return escape(
        f"{relative.value:.3f}" + (f" [{relative.low:.3f}, {relative.high:.3f}]" if relative.is_paired else "")
    )


def interval_of(relative: Relative) -> list[float] | None:
    """The ends of the interval; None where there is none."""
    return [relative.low, relative.high] if relative.is_paired else None


def _pairing(choice: Choice) -> str:
    if all(candidate.relative_accuracy.is_paired for candidate in choice.candidates):
        return "paired by image"
    return "paired by image where an interval stands; elsewhere it is not known which images were answered rightly"


def _outcome(candidate: Candidate, choice: Choice) -> str:
    if candidate is choice.winner:
        return "[green]winner[/]"
    if candidate is choice.runner_up:
        return "runner-up"
    broken = [limit for limit in choice.limits if not limit.keeps(candidate)]
    if not broken:
        return "inside"
    options = ", ".join(limit.option for limit in broken)
    return f"open: {options}" if all(limit.may_keep(candidate) for limit in broken) else f"[dim]breaks {options}[/]"


def _broken(candidate: Candidate, limits: Sequence[Limit]) -> list[str]:
    return [limit.option for limit in limits if not limit.keeps(candidate)]


def _tell_winner(choice: Choice, winner: Candidate) -> None:
    told = choice.measure.words
    say(f"[green]winner:[/] {escape(winner.name)}, {len(choice.fitting)} of {len(choice.candidates)} are inside")
    if len(choice.tied) > 1:
        say(
            f"{len(choice.tied)} candidates inside are not shown to differ in {told['title']} from the best of them on "
            f"{winner.accuracy.images} images; of those it is the fastest"
        )
    else:
        say(f"it is the {told['most']} inside the budget")
    for trade in choice.trades:
        role = "runner-up" if trade.other is choice.runner_up else f"{told['most']} of all"
        say(f"against the {role}, {escape(trade.other.name)}: {escape(_trade_in_words(trade, told['title']))}")


def _tell_contenders(choice: Choice) -> None:
    """Who else might win, why that is not known, and what would tell."""
    inside = [contender.candidate for contender in choice.contenders if not contender.open_limits]
    if inside and choice.winner:
        names = "; ".join(escape(candidate.name) for candidate in inside)
        say(f"[yellow]may be as fast:[/] {names}")
        say(f"not shown to be slower than the winner; to tell, {remedy([choice.winner, *inside])}")
    across = [contender for contender in choice.contenders if contender.open_limits]
    for contender in across:
        say(f"[yellow]may win:[/] {escape(contender.candidate.name)}, {escape(_open_in_words(contender))}")
    if across:
        candidates = [contender.candidate for contender in across]
        open_limits = [limit for contender in across for limit in contender.open_limits]
        say(f"their intervals lie across the limit; to tell, {remedy(candidates, open_limits)}")


def _open_in_words(contender: Contender) -> str:
    ends = [
        f"{limit.of(contender.candidate):.3f} at worst and {limit.at_best(contender.candidate):.3f} at best "
        f"for {limit.option} {limit.value:g}"
        for limit in contender.open_limits
    ]
    return "; ".join(ends)


def _trade_in_words(trade: Trade, title: str) -> str:
    points = 100 * trade.accuracy.value
    shown = "" if trade.accuracy.is_shown else ", not shown to differ"
    paired = ", paired" if trade.accuracy.is_paired else ""
    accuracy = f"{title} {points:+.2f} points (± {100 * trade.accuracy.half_width:.2f}{paired}{shown})"
    return f"{accuracy}; latency × {ratio_in_words(trade.latency)}, {trade.latency.verdict}; bytes × {trade.size:.3f}"


def _tell_nothing_fits(choice: Choice) -> None:
    surely = " for sure" if choice.contenders else ""
    say(f"[red]nothing fits{surely}:[/] none of {len(choice.candidates)} candidates keeps every limit{surely}")
    for number, effect in enumerate(choice.limit_effects):
        first = "most in the way: " if number == 0 and len(choice.limit_effects) > 1 else ""
        say(f"{first}{effect.limit.option} {effect.limit.value:g}: {_effect_in_words(effect, len(choice.candidates))}")
    nearest = choice.nearest_miss
    if nearest is not None:
        needed = [f"{limit.option} {_needed(limit, nearest)}" for limit in choice.limits if not limit.keeps(nearest)]
        say(f"nearest miss: {escape(nearest.name)}; it would need {', '.join(needed)}")


def _effect_in_words(effect: LimitEffect, count: int) -> str:
    broken = f"{effect.breaking} of {count} break it"
    if effect.alone_candidate is None:
        return f"{broken}; loosening it alone does not help"
    return f"{broken}; alone it would have to be {_needed(effect.limit, effect.alone_candidate)}"


def _needed(limit: Limit, candidate: Candidate) -> str:
    """The value a limit would need, rounded to its loose side, and how much looser that is."""
    value = limit.of(candidate)
    if value is None:
        return "(not measured)"
    rounded = value - 0.0005 if limit.is_least else value + 0.0005
    return f"{rounded:.3f} ({limit.looser(candidate):.2f} × looser)"


def _counted(choice: Choice) -> str:
    reasons = Counter(excluded.reason for excluded in choice.excluded)
    return "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common()) or "No row is left."


def _record(candidate: Candidate, choice: Choice) -> dict[str, Any]:
    subject = candidate.row.subject
    return {
        "name": subject.name,
        "format": subject.format,
        "precision": subject.precision,
        "manifest_sha256": subject.manifest_sha256,
        "median_ms": candidate.latency_ms.value,
        "median_interval_ms": [candidate.latency_ms.low, candidate.latency_ms.high],
        "size_bytes": candidate.size_bytes,
        "runtime_bytes": candidate.runtime_bytes,
        "validity": candidate.row.validity,
        "accuracy": candidate.accuracy.share,
        "accuracy_images": candidate.accuracy.images,
        "relative_accuracy": candidate.relative_accuracy.value,
        "relative_accuracy_interval": interval_of(candidate.relative_accuracy),
        "peak_memory_bytes": candidate.memory_bytes,
        "is_teacher": candidate.is_teacher,
        "on_front": candidate in choice.on_front,
        "breaks": _broken(candidate, choice.limits),
    }


def _contender_record(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.candidate.name,
        "manifest_sha256": contender.candidate.row.subject.manifest_sha256,
        "open_limits": [limit.option for limit in contender.open_limits],
        "remedy": remedy([contender.candidate], contender.open_limits),
    }


def _trade_record(trade: Trade) -> dict[str, Any]:
    return {
        "other": trade.other.name,
        "accuracy_difference": trade.accuracy.value,
        "accuracy_half_width": trade.accuracy.half_width,
        "latency_ratio": trade.latency.value,
        "latency_ratio_interval": [trade.latency.low, trade.latency.high],
        "size_ratio": trade.size,
    }


def _effect_record(effect: LimitEffect) -> dict[str, Any]:
    return {"limit": effect.limit.option, "breaking": effect.breaking, "alone": effect.alone}
