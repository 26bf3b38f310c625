"""The choice against the truth, on machines as restless as those that were recorded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from bench.compare.choice import Budget, choose
from bench.record import Measurement
from tests.bench.conftest import make_launch
from tests.bench.restless import PER_TURN, TURNS, Logs, machine, recordings, trace

SESSIONS = 150
MEDIANS_MS = {"quick": 1.0, "tied": 1.5, "tied and slower": 1.65, "better": 2.2, "best": 3.6}
ACCURACIES = {"quick": 0.80, "tied": 0.88, "tied and slower": 0.88, "better": 0.92, "best": 0.95}
OWN_SPREAD, OWN_LAUNCHES = 0.02, 0.005
"""What calls and launches of one model differ by on a machine at rest."""


@dataclass(frozen=True)
class Session:
    """Rows of all models measured in turn, and a latency limit in milliseconds of the machine's median."""

    rows: list[Measurement]
    limit_ms: float

    @property
    def truly_best(self) -> str | None:
        """The most accurate model that keeps the limit, the faster of two; None if none does."""
        inside = [name for name, median_ms in MEDIANS_MS.items() if median_ms <= self.limit_ms]
        return max(inside, key=lambda name: (ACCURACIES[name], -MEDIANS_MS[name]), default=None)


@pytest.fixture
def draw(make_measurement) -> Callable[[np.random.Generator, int], Session]:
    """draw(rng, launches): a session on a machine whose true median is 1."""
    rows, _ = recordings()
    rng = np.random.default_rng(1)
    pauses = [np.median([trace(rng, row) + level for level in machine(rng, 400)]) for row in rows]

    def session(rng: np.random.Generator, launches: int) -> Session:
        place = int(rng.integers(len(rows)))
        shared = [trace(rng, rows[place]) + level - pauses[place] for level in machine(rng, launches)]
        measured = [_row(make_measurement, rng, name, shared) for name in MEDIANS_MS]
        return Session(measured, float(rng.uniform(0.8, 5)))

    return session


def _row(make_measurement, rng: np.random.Generator, name: str, shared: list[Logs]) -> Measurement:
    own = [rng.normal(0, OWN_LAUNCHES) + rng.normal(0, OWN_SPREAD, launch.shape) for launch in shared]
    samples = np.exp(np.concatenate([launch + its for launch, its in zip(shared, own, strict=True)]))
    launches = tuple(
        make_launch(len(launch)).model_copy(update={"burst_counts": (PER_TURN,) * TURNS, "together": f"round {number}"})
        for number, launch in enumerate(shared)
    )
    return make_measurement(
        name,
        samples_ms=tuple((MEDIANS_MS[name] * samples).tolist()),
        launches=launches,
        accuracy=ACCURACIES[name],
        accuracy_images=20_000,
        validity="noisy",
    )


@pytest.mark.parametrize(("launches", "share_won"), [(3, 0.3), (5, 0.5)])
def test_the_winner_keeps_the_limit_and_the_best_is_it_or_may_still_win(draw, launches, share_won):
    rng = np.random.default_rng(2)
    named = broken = missed = won = 0
    for _ in range(SESSIONS):
        session = draw(rng, launches)
        choice = choose(session.rows, Budget(max_latency_ms=session.limit_ms))
        possible = [contender.candidate.row.subject.name for contender in choice.contenders]
        if choice.winner is not None:
            winner = choice.winner.row.subject.name
            named += 1
            broken += MEDIANS_MS[winner] > session.limit_ms
            possible.append(winner)
            won += winner == session.truly_best
        missed += session.truly_best is not None and session.truly_best not in possible
    assert named >= 0.6 * SESSIONS
    assert broken <= 0.04 * named
    assert missed <= 0.05 * SESSIONS
    # The others are more accurate than any that surely keeps the limit, and named as contenders.
    assert won >= share_won * named


def test_of_two_tied_models_inside_the_limit_the_faster_wins_though_both_are_known_badly(draw):
    rng = np.random.default_rng(3)
    winners = []
    for _ in range(40):
        tied = [row for row in draw(rng, 3).rows if row.subject.name.startswith("tied")]
        winners.append(choose(tied, Budget(max_latency_ms=99)).winner)
    assert [winner.row.subject.name for winner in winners] == ["tied"] * 40
