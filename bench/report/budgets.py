"""What the page needs to choose inside limits its reader sets, as `python -m bench choose` does with its options."""

from collections.abc import Sequence
from typing import Any

from bench.compare.choice import Candidate, accuracy_gap, candidates_among, is_shown_faster, overtakes, pareto_front
from bench.record import Measurement


def choices(shown: Sequence[Measurement], conditions: Sequence[str]) -> list[dict[str, Any]]:
    """For every row its part in the choice among the rows of its conditions.

    Args:
        shown: the rows, one of every artifact and conditions.
        conditions: of each row, in words; only rows of equal words are chosen among.

    Returns:
        Of each row: `candidate`, None if it cannot be chosen, with its accuracy, that as a share of its reference, the
        ends of the intervals of both that share and its latency, whether it is on the Pareto front, and the places in
        `shown` of three kinds of others: those whose accuracy is not shown to differ from its own, those among them
        that overtake it though the upper end of their latency is higher, and those that it is shown to be faster than
        though the intervals overlap. And `excluded`, why it cannot be chosen.
    """
    place_of = {id(row): place for place, row in enumerate(shown)}
    told: list[dict[str, Any]] = [{"candidate": None, "excluded": None} for _ in shown]
    for among in dict.fromkeys(conditions):
        rows = [row for row, where in zip(shown, conditions, strict=True) if where == among]
        candidates, excluded, _ = candidates_among(rows, shown)
        for left_out in excluded:
            told[place_of[id(left_out.row)]]["excluded"] = left_out.reason
        front = {id(candidate) for candidate in pareto_front(candidates)}
        for candidate in candidates:
            tied = [other for other in candidates if not accuracy_gap(candidate, other).is_shown]
            overtaking = [other for other in tied if _is_later(other, candidate) and overtakes(other, candidate)]
            beaten = [other for other in tied if _overlap(other, candidate) and is_shown_faster(candidate, other)]
            told[place_of[id(candidate.row)]]["candidate"] = {
                "accuracy": candidate.accuracy.share,
                "relative_accuracy": candidate.relative_accuracy.value,
                "least_relative_accuracy": candidate.relative_accuracy.low,
                "most_relative_accuracy": candidate.relative_accuracy.high,
                "low_ms": candidate.latency_ms.low,
                "high_ms": candidate.latency_ms.high,
                "is_on_front": id(candidate) in front,
                "tied": [place_of[id(other.row)] for other in tied],
                "overtaken_by": [place_of[id(other.row)] for other in overtaking],
                "faster_than": [place_of[id(other.row)] for other in beaten],
            }
    return told


def _is_later(other: Candidate, candidate: Candidate) -> bool:
    return other.latency_ms.high >= candidate.latency_ms.high


def _overlap(other: Candidate, candidate: Candidate) -> bool:
    return other.latency_ms.low <= candidate.latency_ms.high and candidate.latency_ms.low <= other.latency_ms.high
