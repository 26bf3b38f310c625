"""What the page needs to choose inside limits its reader sets, as `python -m bench choose` does with its options.

Any two rows may be held against each other, depending on the limits, so the page holds them itself: of each row it gets
what a comparison needs, and the outcome only of those pairs that were measured in turn, which needs all their bursts.
So page and time grow with the rows and not with their square.
"""

import math
from collections.abc import Sequence
from typing import Any

from bench.compare.choice import (
    Candidate,
    candidates_among,
    is_shown_faster,
    overtakes,
    pareto_front,
    teachers_among,
)
from bench.compare.conditions import in_order_of_time
from bench.record import Measurement
from bench.timing.intervals import log_error
from bench.timing.ratio import ratios_by_turn
from export.artifact.answers import Answers


def choices(shown: Sequence[Measurement], conditions: Sequence[str]) -> tuple[list[dict[str, Any]], list[Answers]]:
    """For every row its part in the choice among the rows of its conditions.

    Args:
        shown: the rows, one of every artifact and conditions.
        conditions: of each row, in words; only rows of equal words are chosen among.

    Returns:
        Of each row: `candidate`, None if it cannot be chosen, else what `bench.compare.choice` knows of its accuracy
        and latency, whether it is on the Pareto front, and the places in `shown` of others that were measured in turn
        with it: all of them, those that overtake it, and those that it is shown to be faster than. And `excluded`, why
        it cannot be chosen. Second the answers that the candidates' `answers` are places in.
    """
    place_of = {id(row): place for place, row in enumerate(shown)}
    told: list[dict[str, Any]] = [{"candidate": None, "excluded": None} for _ in shown]
    teachers = teachers_among(in_order_of_time(shown))
    rows_under: dict[str, list[Measurement]] = {}
    for row, where in zip(shown, conditions, strict=True):
        rows_under.setdefault(where, []).append(row)
    answers: dict[Answers | None, int | None] = {None: None}
    for rows in rows_under.values():
        candidates, excluded, _ = candidates_among(rows, teachers)
        for left_out in excluded:
            told[place_of[id(left_out.row)]]["excluded"] = left_out.reason
        front = set(pareto_front(candidates))
        beside = _measured_in_turn(candidates)
        for candidate in candidates:
            others = beside[candidate]
            told[place_of[id(candidate.row)]]["candidate"] = {
                **_figures(candidate),
                "answers": answers.setdefault(candidate.accuracy.answers, len(answers) - 1),
                "is_on_front": candidate in front,
                "in_turn": [place_of[id(other.row)] for other in others],
                "overtaken_by": [place_of[id(other.row)] for other in others if overtakes(other, candidate)],
                "faster_than": [place_of[id(other.row)] for other in others if is_shown_faster(candidate, other)],
            }
    return told, [each for each in answers if each is not None]


def _figures(candidate: Candidate) -> dict[str, Any]:
    """What a comparison with any other needs, as `accuracy_gap` and `is_shown_faster` read it."""
    accuracy, relative, latency_ms = candidate.accuracy, candidate.relative_accuracy, candidate.latency_ms
    error, freedom = log_error(candidate.row.samples_by_launch)
    return {
        "accuracy": accuracy.share,
        "images": accuracy.images,
        "agreement": accuracy.agreement,
        "is_measured": accuracy.is_measured,
        "relative_accuracy": relative.value,
        "least_relative_accuracy": relative.low,
        "most_relative_accuracy": relative.high,
        "low_ms": latency_ms.low,
        "high_ms": latency_ms.high,
        "median_ms": latency_ms.value,
        "log_error": error,
        # JSON knows no infinity.
        "freedom": None if math.isinf(freedom) else freedom,
    }


def _measured_in_turn(candidates: Sequence[Candidate]) -> dict[Candidate, list[Candidate]]:
    """Of each candidate the others whose ratio to it is known turn by turn: as many as a machine holds at a time."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        for group in candidate.row.burst_medians_ms:
            groups.setdefault(group, []).append(candidate)
    return {
        candidate: [
            other
            for other in dict.fromkeys(other for group in candidate.row.burst_medians_ms for other in groups[group])
            if other is not candidate and ratios_by_turn(other.row, candidate.row) is not None
        ]
        for candidate in candidates
    }
