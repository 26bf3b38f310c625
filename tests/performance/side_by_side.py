"""Compare pieces of work in one run: interleaved rounds, ratios with an interval, one printed line each."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distill import terminal


@dataclass(frozen=True)
class Comparison:
    """Seconds of two pieces of work per round, measured alternately.

    Attributes:
        name: what is compared, as "new against base".
        goal: what the ratio base / new must at least be (or new / base at most), in words.
        base_s, new_s: one value per round.
    """

    name: str
    goal: str
    base_s: tuple[float, ...]
    new_s: tuple[float, ...]

    def speedup(self) -> tuple[float, float, float]:
        """Median of base / new over the rounds, with its 95 % bootstrap interval."""
        ratios = np.asarray(self.base_s) / np.asarray(self.new_s)
        rng = np.random.default_rng(0)
        resampled = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        return float(np.median(ratios)), float(low), float(high)


def compare(name: str, goal: str, base: Callable[[], object], new: Callable[[], object], *, rounds: int) -> Comparison:
    """Run both once unmeasured, then alternately, each round starting with the other one."""
    base(), new()
    base_s: list[float] = []
    new_s: list[float] = []
    for turn in range(rounds):
        for work, seconds in [(base, base_s), (new, new_s)][:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
    return Comparison(name, goal, tuple(base_s), tuple(new_s))


def show(comparisons: list[Comparison]) -> None:
    """A table of ratios on stderr."""
    rows = []
    for found in comparisons:
        ratio, low, high = found.speedup()
        rows.append((found.name, f"{ratio:.3f}", f"{low:.3f}–{high:.3f}", str(len(found.base_s)), found.goal))
    columns = ["side by side in one run", "base / new", "95 % interval", "rounds", "goal"]
    terminal.console.print(terminal.table("performance", columns, rows))
