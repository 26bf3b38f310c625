"""The page to show a colleague: question, answer, runners-up, what was rejected and why, what is unproven. One file."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.ship.answer import figures, kill_in_words, limit_in_words
from android_demo.ship.question import in_words
from android_demo.ship.record import Candidate, Ship, Timed
from distill.contract import write_whole
from distill.errors import UsageError
from distill.page_style import breakable, style_sheet
from distill.vision.tasks import Measure

PAGE_FILE = "ship.html"
TEMPLATES = Path(__file__).parent / "page"
HASH_SHOWN = 12


@dataclass(frozen=True)
class Row:
    """A candidate in the table.

    Attributes:
        role: winner, runner-up, the teacher, or empty.
        breaks: the limits that it is not shown to keep, in words; empty if it keeps all.
        against: what it would cost or gain against the winner; empty for the winner, and where nothing fits.
        width: of its bar, its latency as a share of the slowest candidate's, in percent.
    """

    candidate: Candidate
    role: str
    breaks: str
    against: str
    width: float


@dataclass(frozen=True)
class Rejected:
    """Something that went no further: what, at which step, and why."""

    what: str
    step: str
    reason: str


def write_page(record: Ship, path: Path) -> None:
    """Write the page; raises UsageError where jinja2 is missing and WorkFailed where the file cannot be written."""
    write_whole(path, render(record).encode("utf-8", "replace"))


def render(record: Ship) -> str:
    """The page as text, from nothing but the record.

    Raises:
        UsageError: jinja2 is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise UsageError("the page needs jinja2: install the extra `report`, then run the same again.") from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": breakable,
        "duration": in_words,
        "shell": shlex.join,
        "short": lambda sha256: sha256[:HASH_SHOWN],
    }
    return environment.get_template("ship.html.j2").render(
        ship=record,
        css=style_sheet(TEMPLATES / "ship.css"),
        headline=headline(record),
        rows=rows(record),
        names=names(record),
        rejected=rejected(record),
        kills=limits(record),
        figures=lambda candidate: figures(candidate, record.measure),
        told=record.measure.words,
        files=files(record),
    )


def headline(record: Ship) -> str:
    """The answer in a line."""
    winner = record.choice.winner if record.choice else None
    if winner is None:
        sure = " for sure" if record.choice and record.choice.contenders else ""
        return f"Nothing fits{sure}: {record.question.budget.in_words(record.measure)}"
    kept = (
        ""
        if winner.is_teacher
        else f", {100 * winner.relative_accuracy:.1f}\u00a0% of the teacher’s {record.measure.title}"
    )
    return f"{winner.name} as {winner.format} {winner.precision}: {winner.median_ms:.3g}\u00a0ms{kept}"


def rows(record: Ship) -> list[Row]:
    """The candidates: the winner, the runner-up, then those inside, then the others, each the fastest first."""
    choice = record.choice
    if choice is None or not choice.candidates:
        return []
    winner, runner_up = choice.winner, choice.runner_up
    slowest_ms = max(each.median_ms for each in choice.candidates)
    ranked = sorted(
        choice.candidates,
        key=lambda each: (each != winner, each != runner_up, bool(each.breaks), each.median_ms),
    )
    return [
        Row(
            candidate=each,
            role="winner" if each == winner else "runner-up" if each == runner_up else "teacher" * each.is_teacher,
            breaks=", ".join(_limit(each_limit, record.measure) for each_limit in each.breaks),
            against="" if winner is None or each == winner else _against(each, winner, record.measure),
            width=100 * each.median_ms / slowest_ms,
        )
        for each in ranked
    ]


def names(record: Ship) -> dict[str, str]:
    """The candidates by the hash of their manifest."""
    candidates = record.choice.candidates if record.choice else ()
    return {each.manifest_sha256: f"{each.name}, {each.format} {each.precision}" for each in candidates}


def rejected(record: Ship) -> list[Rejected]:
    """What went no further, in the order of the steps."""
    result = [Rejected(each.student, "timed untrained", each.reason) for each in record.screened if not each.kept]
    result += [Rejected(each.student, "training", each.reason) for each in record.trained if not each.finalist]
    result += _forms_left_out(record)
    result += [
        Rejected(f"{each.student}, {each.format} {each.precision}", "export", each.cause or each.status)
        for each in record.exported
        if each.manifest is None
    ]
    if record.choice:
        result += [Rejected(what, "measurement", reason) for what, reason in record.choice.excluded]
    return result


def _forms_left_out(record: Ship) -> list[Rejected]:
    """Formats and precisions of the finalists that were not exported for what they take untrained."""
    finalists = {each.student for each in record.trained if each.finalist}
    exported = {(each.student, each.format, each.precision) for each in record.exported}
    return [
        Rejected(f"{screened.student}, {each.format} {each.precision}", "timed untrained", _time_and_size(each))
        for screened in record.screened
        if screened.student in finalists
        for each in screened.timed
        if (screened.student, each.format, each.precision) not in exported
    ]


def _time_and_size(timed: Timed) -> str:
    if timed.median_ms is None or timed.median_interval_ms is None:
        return "it could not be measured"
    low, high = timed.median_interval_ms
    return f"it takes {timed.median_ms:.3f} ms ({low:.3f} to {high:.3f}) and has {timed.size_bytes / 1e6:.2f} MB"


def limits(record: Ship) -> list[tuple[str, str]]:
    """(limit, who breaks it) in words, the one that stands most in the way first."""
    if record.choice is None:
        return []
    count, measure = len(record.choice.candidates), record.measure
    return [
        (limit_in_words(kill.limit, kill.value, measure), kill_in_words(kill, count, measure))
        for kill in record.choice.kills
    ]


def files(record: Ship) -> list[tuple[str, str, str]]:
    """(what, path, hash) of every file that a number on the page comes from."""
    found: list[tuple[str, str, str]] = []
    if record.teacher:
        found.append(("teacher's weights", record.teacher.folder, record.teacher.weights_sha256))
    found += [(f"{each.student}, card", each.card.path, each.card.sha256) for each in record.trained if each.card]
    found += [
        (f"{each.student}, {each.format} {each.precision}, manifest", each.manifest.path, each.manifest.sha256)
        for each in record.exported
        if each.manifest
    ]
    found += [
        (f"{each.student}, untrained, samples", each.journal.path, each.journal.sha256)
        for each in record.screened
        if each.journal
    ]
    if record.choice:
        found.append(("samples", record.choice.journal.path, record.choice.journal.sha256))
    if record.bundle:
        found.append(("bundle", record.bundle.path, record.bundle.sha256))
    if record.app:
        found.append(("app", record.app.apk.path, record.app.apk.sha256))
    return found


def _limit(option: str, measure: Measure) -> str:
    return {
        "--max-latency-ms": "latency",
        "--max-size-mb": "size",
        "--min-relative-accuracy": measure.title,
        "--max-memory-mb": "memory",
    }.get(option, option)


def _against(candidate: Candidate, winner: Candidate, measure: Measure) -> str:
    """E.g. "1.40 × the time, 3.5 × the bytes, +0.3 points"."""
    points = 100 * (candidate.accuracy - winner.accuracy)
    parts: Sequence[str] = (
        f"{candidate.median_ms / winner.median_ms:.2f} × the time",
        f"{candidate.size_bytes / winner.size_bytes:.2f} × the bytes",
        f"{points:+.1f} points of {measure.title}".replace("-", "−"),
    )
    return ", ".join(parts)
