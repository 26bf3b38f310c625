"""Time students before they are trained: who is shown to miss the budget is not worth an epoch."""

from pathlib import Path
from typing import Any

from rich.markup import escape

from android_demo.ship.commands import Ended
from android_demo.ship.ground import Ground, Phone, require_phone
from android_demo.ship.question import Budget, Question
from android_demo.ship.record import FileIdentity, Fit, Screened, Timed
from android_demo.ship.steps import Steps
from bench.record.carried import RuntimeBytes
from distill.contract import sha256_of_file
from distill.errors import WorkFailed
from distill.terminal import say

JOURNAL_FILE = "measurements.jsonl"


def screen(question: Question, ground: Ground, steps: Steps) -> list[Screened]:
    """Every student with what its untrained exports take on the device, in the order asked for.

    Raises:
        WorkFailed: none could be measured, or the disk is full.
    """
    screened: list[Screened] = []
    for student in question.students:
        try:
            answers, journal = _time_on_all(student, question, ground, steps)
        except WorkFailed as error:
            say(f"[yellow]left out:[/] {escape(student)}: {escape(str(error))}")
            screened.append(Screened(student=student, kept=False, reason=str(error), timed=(), journal=None))
            continue
        timed = [_judged(each, question.budget, ground.carried) for each in answers]
        screened.append(_verdict(student, timed, question.budget, journal))
        if not screened[-1].kept:
            say(f"[yellow]not trained:[/] {escape(student)}: {escape(screened[-1].reason)}")
    if not any(each.timed for each in screened):
        raise WorkFailed("no student could be exported and timed; the reasons stand above.")
    return screened


def file_name(student: str) -> str:
    """A student's name as part of a path."""
    return student.replace(":", "-").replace("/", "-")


def kept_forms(screened: Screened) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(formats, precisions) of which at least one pair may keep the budget."""
    pairs = [each for each in screened.timed if each.fit in ("inside", "open")]
    formats, precisions = ([getattr(each, name) for each in pairs] for name in ("format", "precision"))
    return tuple(dict.fromkeys(formats)), tuple(dict.fromkeys(precisions))


def _time_on_all(student: str, question: Question, ground: Ground, steps: Steps) -> tuple[list[dict[str, Any]], Path]:
    """(what each export takes where it takes longest, the journal of the last phone)."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    folder = steps.folder / "screening" / file_name(student)
    for phone in ground.phones or (None,):
        place = folder / file_name(phone.serial) if phone else folder
        for each in _time(student, phone, question, ground, steps, place):
            key = (each["format"], each["precision"])
            known = worst.get(key)
            if known is None or _at_worst_ms(each) > _at_worst_ms(known):
                worst[key] = each
        folder = place if phone is (ground.phones or (None,))[-1] else folder
    return [*worst.values()], folder / JOURNAL_FILE


def _at_worst_ms(told: dict[str, Any]) -> float:
    interval = told["median_interval_ms"]
    return float("inf") if interval is None else interval[1]


def _time(
    student: str, phone: Phone | None, question: Question, ground: Ground, steps: Steps, folder: Path
) -> list[dict[str, Any]]:
    words = ["plan", "--students", student, "--device", question.device, "--threads", question.threads]
    words += ["--size", ground.size_px, "--channels", ground.channels, "--classes", ground.num_classes]
    words += ["--format", ",".join(ground.formats), "--precision", ",".join(question.precisions)]
    budget = [f"--max-latency-ms={question.budget.max_latency_ms:g}"]
    words += ["--latency", question.latency] if question.latency else []
    words += ["--rehearse"] if ground.emulated else []

    def learn(ended: Ended) -> Any:
        timed = ended.document()["timed"]
        if phone is not None and any(each["median_ms"] is None for each in timed):
            require_phone(phone.serial)
        return timed

    step = steps.do(
        f"time {student}, untrained" + (f", on {phone.words}" if len(ground.phones) > 1 and phone else ""),
        "bench",
        [*words, "--out", folder, "--json"],
        deciding=phone and phone.serial,
        learn=learn,
        products=lambda _: [folder / JOURNAL_FILE],
        fine=(0, 1),
        serial=phone and phone.serial,
        more=[
            *budget,
            *ground.carried_words(steps.folder),
        ],  # the times are the same whatever they are held against
    )
    answer: Any = step.answer
    return answer


def _judged(told: dict[str, Any], budget: Budget, carried: RuntimeBytes | None) -> Timed:
    interval = told["median_interval_ms"]
    # What is kept of an earlier session may count a runtime as it was weighed then.
    of_model = told["size_bytes"] - (told.get("runtime_bytes") or 0)
    of_runtime = carried.of(told["format"]) if carried else 0
    return Timed(
        format=told["format"],
        precision=told["precision"],
        median_ms=told["median_ms"],
        median_interval_ms=None if interval is None else (interval[0], interval[1]),
        size_bytes=of_model + (of_runtime or 0),
        validity=told["validity"],
        fit=_fit(interval, None if of_runtime is None else of_model + of_runtime, budget),
    )


def _fit(interval_ms: list[float] | None, size_bytes: int | None, budget: Budget) -> Fit:
    if interval_ms is None:
        return "not-measured"
    # Bytes that nobody knows keep no limit.
    too_large = budget.max_size_mb is not None and (size_bytes is None or size_bytes > budget.max_size_mb * 1e6)
    if too_large or interval_ms[0] > budget.max_latency_ms:
        return "outside"
    return "inside" if interval_ms[1] <= budget.max_latency_ms else "open"


def _verdict(student: str, timed: list[Timed], budget: Budget, journal: Path) -> Screened:
    measured = [each for each in timed if each.median_ms is not None]
    kept = [each for each in timed if each.fit in ("inside", "open")]
    inside = sum(each.fit == "inside" for each in kept)
    fastest = min(measured, key=lambda each: each.median_ms or 0.0, default=None)
    if fastest is None:
        reason = "none of its exports could be measured"
    else:
        low, high = fastest.median_interval_ms or (0.0, 0.0)
        at_best = (
            f"the fastest, {fastest.format} {fastest.precision}, takes {fastest.median_ms:.3f} ms "
            f"({low:.3f} to {high:.3f}) and has {fastest.size_bytes / 1e6:.2f} MB"
        )
        share = f"{inside} of {len(timed)} exports are inside, {len(kept) - inside} open" if kept else "all are outside"
        reason = f"{share}; {at_best}, for {budget.max_latency_ms:g} ms" + (
            f" and {budget.max_size_mb:g} MB" if budget.max_size_mb is not None else ""
        )
    identity = FileIdentity(path=str(journal), sha256=sha256_of_file(journal)) if journal.is_file() else None
    return Screened(student=student, kept=bool(kept), reason=reason, timed=tuple(timed), journal=identity)
