"""What a search varies: `--vary KEY=log:1:2000`."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Literal

from distill.config import RunConfig, with_overrides
from distill.contract import Strict
from distill.errors import UsageError

Value = float | int | str
"""Of one setting in one trial; a text stands for what `--set KEY=TEXT` makes of it."""

FORMS = "KEY=log:LOW:HIGH, KEY=uniform:LOW:HIGH, KEY=int:LOW:HIGH or KEY=choice:A,B"

UNFIT = {
    "name": "it names the run and changes nothing",
    "device": "it changes nothing but the time",
    "allow_weak_teacher": "it allows and changes nothing",
    "seed": "the best of several seeds is luck and not a setting",
    "dataset": "trials are compared on the same images",
    "training.judged_by": "trials are compared by the same measure",
}


class Range(Strict):
    """Numbers between two bounds, which belong to it.

    Attributes:
        kind: `uniform` and `log` are drawn evenly, `log` over their logarithm; `int` are whole numbers.
    """

    kind: Literal["uniform", "log", "int"]
    low: float
    high: float

    @property
    def ends(self) -> tuple[Value, ...]:
        """The least and the greatest."""
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)


class Choice(Strict):
    """One of several values, each as `--set` takes it."""

    kind: Literal["choice"] = "choice"
    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values


class Varied(Strict):
    """One setting that is varied.

    Attributes:
        path: dotted, as for `--set`.
    """

    path: str
    values: Range | Choice

    def assignment(self, value: Value) -> str:
        """As `--set` takes it."""
        return f"{self.path}={value if isinstance(value, str) else json.dumps(value)}"


def in_words(value: Value) -> str:
    """A value for people: numbers to four digits."""
    return value if isinstance(value, str) else f"{value:.4g}"


def parse(texts: Sequence[str], config: RunConfig, *, epochs_per_trial: int | None) -> tuple[Varied, ...]:
    """What is to be varied, tried on the settings at both ends (or with every choice).

    Raises:
        UsageError: nothing to vary; a malformed text, bounds that are none; a setting that is unknown, that does not
            take such a value, that is named twice, or that must be the same in all trials.
    """
    if not texts:
        raise UsageError(f"nothing is varied, so there is nothing to search: add --vary {FORMS}.")
    settings = tuple(_parsed(text) for text in texts)
    for number, (text, varied) in enumerate(zip(texts, settings, strict=True)):
        if varied.path in [earlier.path for earlier in settings[:number]]:
            raise UsageError(f"--vary {text}: {varied.path} is varied already; name it once.")
        _require_fit(text, varied.path, epochs_per_trial)
    for text, assignments in _trials_at_the_ends(texts, settings):
        try:
            with_overrides(config, assignments)
        except UsageError as error:
            raise UsageError(f"--vary {text}: {error}") from error
    return settings


def _parsed(text: str) -> Varied:
    path, equals, values = text.partition("=")
    kind, colon, rest = values.partition(":")
    if not (path and equals and colon):
        raise UsageError(f"--vary {text}: expected {FORMS}.")
    path = f"training.{path.removeprefix('student.')}" if path.startswith("student.") else path
    match kind:
        case "choice":
            choices = tuple(each.strip() for each in rest.split(","))
            if len(set(choices)) < max(len(choices), 2) or not all(choices):
                raise UsageError(f"--vary {text}: expected two different choices at least, e.g. {path}=choice:A,B.")
            return Varied(path=path, values=Choice(values=choices))
        case "log" | "uniform" | "int":
            low, high = _bounds(text, rest)
            if not low < high:
                raise UsageError(f"--vary {text}: the lower bound comes first and is less, {path}={kind}:LOW:HIGH.")
            if kind == "log" and low <= 0:
                raise UsageError(f"--vary {text}: {low:g} has no logarithm; begin above 0, or use {path}=uniform:….")
            if kind == "int" and not (low.is_integer() and high.is_integer()):
                raise UsageError(f"--vary {text}: expected whole numbers; for others use {path}=uniform:….")
            return Varied(path=path, values=Range(kind=kind, low=low, high=high))
    raise UsageError(f"--vary {text}: there is no {kind!r}; expected {FORMS}.")


def _bounds(text: str, rest: str) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in rest.split(":"))
    except ValueError as error:
        raise UsageError(f"--vary {text}: expected two numbers, LOW:HIGH, found {rest!r}.") from error
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"--vary {text}: both bounds must be finite.")
    return low, high


def _require_fit(text: str, path: str, epochs_per_trial: int | None) -> None:
    for unfit, reason in UNFIT.items():
        if path == unfit or path.startswith(f"{unfit}."):
            raise UsageError(f"--vary {text}: {unfit} is not varied: {reason}.")
    if path == "training.epochs" and epochs_per_trial is not None:
        raise UsageError(f"--vary {text}: --epochs-per-trial says how long every trial is; leave one of them out.")


def _trials_at_the_ends(texts: Sequence[str], settings: Sequence[Varied]) -> Iterator[tuple[str, list[str]]]:
    """Every end of every range, the other settings at their first."""
    first = [each.assignment(each.values.ends[0]) for each in settings]
    for number, (text, varied) in enumerate(zip(texts, settings, strict=True)):
        for end in varied.values.ends:
            yield text, [*first[:number], varied.assignment(end), *first[number + 1 :]]
