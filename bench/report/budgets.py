"""What the page needs to choose inside limits its reader sets, as `python -m bench choose` does with its options."""

from collections.abc import Sequence
from typing import Any

from bench.compare.choice import Budget, Candidate, accuracy_gap, choose
from bench.record import Measurement


def choices(shown: Sequence[Measurement], conditions: Sequence[str]) -> list[dict[str, Any]]:
    """For every row its part in the choice among the rows of its conditions.

    Args:
        shown: the rows, one of every artifact and conditions.
        conditions: of each row, in words; only rows of equal words are chosen among.

    Returns:
        Of each row: `candidate`, None if it cannot be chosen, with its accuracy, its place on the Pareto front and
        the places in `shown` of those whose accuracy is not shown to differ from its own; `excluded`, why it cannot;
        and the same two ending in `_if_noisy`, for a reader who lets noisy rows count.
    """
    strict = _told(shown, conditions, allow_noisy=False)
    lenient = _told(shown, conditions, allow_noisy=True)
    return [
        {**one, **{f"{key}_if_noisy": value for key, value in other.items()}}
        for one, other in zip(strict, lenient, strict=True)
    ]


def _told(shown: Sequence[Measurement], conditions: Sequence[str], *, allow_noisy: bool) -> list[dict[str, Any]]:
    place_of = {id(one): place for place, one in enumerate(shown)}
    told: list[dict[str, Any]] = [{"candidate": None, "excluded": None} for _ in shown]
    for among in dict.fromkeys(conditions):
        rows = [one for one, where in zip(shown, conditions, strict=True) if where == among]
        found = choose(rows, Budget(), journal=shown, allow_noisy=allow_noisy)
        for left_out in found.excluded:
            told[place_of[id(left_out.row)]]["excluded"] = left_out.reason
        for one in found.candidates:
            tied = [place_of[id(other.row)] for other in found.candidates if not accuracy_gap(one, other).is_shown]
            told[place_of[id(one.row)]]["candidate"] = _candidate(one, one in found.front, tied)
    return told


def _candidate(one: Candidate, is_on_front: bool, tied: list[int]) -> dict[str, Any]:
    return {
        "accuracy": one.accuracy.share,
        "relative_accuracy": one.relative_accuracy,
        "is_on_front": is_on_front,
        "tied": tied,
    }
