"""Intervals hold the truth as often as they say, on machines as restless as those that were recorded."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.timing.intervals import median_interval
from tests.bench.restless import Logs, Recording, machine, machine_of_two_speeds, recordings, trace

SESSIONS = 1000
LAUNCHES_OF_TRUTH = 400

Levels = Callable[[np.random.Generator, int], Logs]


def session(rng: np.random.Generator, recording: Recording, levels: Logs) -> list[Logs]:
    return [np.exp(trace(rng, recording) + level) for level in levels]


@pytest.mark.parametrize("levels", [machine, machine_of_two_speeds])
@pytest.mark.parametrize("launches", [3, 5])
def test_the_interval_holds_the_true_median_in_93_of_100_sessions(levels: Levels, launches: int):
    rng = np.random.default_rng(launches)
    rows, _ = recordings()
    truth = [np.median(session(rng, row, levels(rng, LAUNCHES_OF_TRUTH))) for row in rows]
    held = 0
    for number in range(SESSIONS):
        place = number % len(rows)
        known = median_interval([launch.tolist() for launch in session(rng, rows[place], levels(rng, launches))])
        held += known.low <= truth[place] <= known.high
    assert held >= 0.93 * SESSIONS
