"""From `--format`, `--precision` and `--batch` to the artifacts to make, before any work."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from distill.errors import UsageError
from distill.system import did_you_mean
from export.artifact.manifest import ANY_BATCH, FormatName, PrecisionName
from export.formats import FORMATS, PRECISIONS, Target, why_not

Name = TypeVar("Name", bound=str)

EVERYTHING = "all"


@dataclass(frozen=True)
class Plan:
    """What will be made, and what was left out because nobody asked for it by name: pairs in words and the reason."""

    targets: tuple[Target, ...]
    skipped: tuple[tuple[str, str], ...]


def plan(formats: str | None, precisions: str | None, *, batch: int, has_data: bool) -> Plan:
    """The artifacts to make.

    Args:
        formats: names separated by commas, `all`, or None for all but the variants.
        precisions: names separated by commas, `all`, or None for what is usual in each format.
        batch: images per call; -1 = any number.
        has_data: whether there are images to calibrate with.

    Raises:
        UsageError: an unknown name, or an explicitly named pair that cannot be made; says why and what can.
    """
    by_name = formats is not None and formats.strip() != EVERYTHING
    explicit = by_name and precisions is not None and precisions.strip() != EVERYTHING
    targets: list[Target] = []
    skipped: list[tuple[str, str]] = []
    for name in _formats(formats):
        for precision in _precisions(precisions, name):
            target = Target(name, precision, batch)
            reason = why_not(target, has_data=has_data)
            if reason is None:
                targets.append(target)
            elif explicit:
                raise UsageError(_refusal(target, reason))
            else:
                skipped.append((f"{name} {precision}", reason))
    if not targets:
        raise UsageError("nothing to export: " + "; ".join(f"{pair}: {reason}" for pair, reason in skipped) + ".")
    return Plan(tuple(targets), tuple(skipped))


def parse_batch(text: str) -> int:
    """`--batch` as a number: 1 or more, or -1 for `dynamic`; raises UsageError for anything else."""
    if text.strip() == "dynamic":
        return ANY_BATCH
    try:
        batch = int(text)
    except ValueError:
        batch = 0
    if batch < 1:
        raise UsageError(f"--batch {text!r}: expected a number of images from 1 on, or dynamic.")
    return batch


def _formats(text: str | None) -> tuple[FormatName, ...]:
    if text is None:
        return tuple(name for name, entry in FORMATS.items() if not entry.variant)
    return tuple(FORMATS) if text.strip() == EVERYTHING else _parse(text, FORMATS, "format")


def _precisions(text: str | None, name: FormatName) -> tuple[PrecisionName, ...]:
    if text is None:
        return FORMATS[name].usual
    return PRECISIONS if text.strip() == EVERYTHING else _parse(text, PRECISIONS, "precision")


def _refusal(target: Target, reason: str) -> str:
    possible = ", ".join(FORMATS[target.format].schemes)
    batch = "" if target.batch == 1 else " for any batch" if target.batch == ANY_BATCH else f" for batch {target.batch}"
    return (
        f"{target.format} cannot be exported in {target.precision}{batch}: {reason}. Nothing was started. "
        f"{target.format} has: {possible}. See python -m export formats. Without --precision, or with --format all, "
        "such pairs are left out."
    )


def _parse(text: str, known: Iterable[Name], what: str) -> tuple[Name, ...]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    choices = {str(name): name for name in known}
    if not names:
        raise UsageError(f"no {what} given. Known: {', '.join(choices)}.")
    for name in names:
        if name not in choices:
            raise UsageError(f"unknown {what} {name!r}{did_you_mean(name, choices)} Known: {', '.join(choices)}.")
    return tuple(dict.fromkeys(choices[name] for name in names))
