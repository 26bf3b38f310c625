"""Restless machines as they were recorded: traces of `results/` resampled, so that the truth is known.

A launch is a recorded one, its turns drawn in stretches (what the machine does lasts for some turns), its level drawn
from how far all recorded launches lie from the middle of their rows.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.record import Launch, read_journal

JOURNAL = Path(__file__).parents[2] / "results" / "matrix.measurements.jsonl"
TURNS = 16
STRETCH = 4
PER_TURN = 3
"""Samples of a turn; a recorded one has dozens, which would take the tests as many times longer."""

Logs = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """The launches of one row.

    Attributes:
        turns: of each launch the logarithms of its bursts' samples [turns, PER_TURN], around the launch's median.
    """

    turns: tuple[Logs, ...]


@cache
def recordings() -> tuple[tuple[Recording, ...], Logs]:
    """(the recorded rows; how far their launches lie from the middle of their row, on a log scale)."""
    rng = np.random.default_rng(0)
    rows: list[Recording] = []
    levels: list[float] = []
    for row in read_journal(JOURNAL).measurements:
        launches = [np.log(samples) for samples in row.samples_by_launch]
        middles = np.array([np.median(launch) for launch in launches])
        # Deviations from a mean of k launches are too small by (k - 1) / k of their variance.
        levels += list((middles - middles.mean()) * math.sqrt(len(middles) / (len(middles) - 1)))
        pairs = zip(row.launches, launches, middles, strict=True)
        rows.append(Recording(tuple(_turns(*pair, rng) for pair in pairs)))
    return tuple(rows), np.array(levels)


def machine(rng: np.random.Generator, launches: int) -> Logs:
    """Levels of so many launches."""
    _, levels = recordings()
    return rng.choice(levels, launches) + rng.normal(0, 0.02, launches)


def machine_of_two_speeds(rng: np.random.Generator, launches: int) -> Logs:
    """Levels of launches of which three in ten are slower by a sixth, as on another kind of core."""
    return np.where(rng.random(launches) < 0.3, 0.15, 0.0) + rng.normal(0, 0.01, launches)


def trace(rng: np.random.Generator, recording: Recording) -> Logs:
    """One launch of the recorded row [TURNS × PER_TURN], around 0."""
    turns = recording.turns[rng.integers(len(recording.turns))]
    starts = rng.integers(len(turns), size=(TURNS // STRETCH, 1))
    return turns[((starts + np.arange(STRETCH)) % len(turns)).ravel()].ravel()


def _turns(launch: Launch, logs: Logs, middle: float, rng: np.random.Generator) -> Logs:
    ends = accumulate(launch.burst_counts)
    bursts = [logs[end - count : end] for end, count in zip(ends, launch.burst_counts, strict=True) if count]
    return np.stack([rng.choice(burst, PER_TURN) for burst in bursts]) - middle
