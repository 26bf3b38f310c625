"""One row against another: burst by burst where they were measured in turn, else by their medians.

Samples of the same turn were taken within moments of each other, so what the machine's clock and neighbours did then
is in both and falls out of their ratio. Ratios of neighbours know a difference several times better than two medians
do (paired comparisons; see also Georges et al. 2007).
"""

from bench.record import Measurement
from bench.timing.intervals import Interval, paired_interval, ratio_interval

FEWEST_TURNS = 5
"""In a launch; fewer ratios say little about their own spread."""


def ratio_of(base: Measurement, new: Measurement) -> Interval:
    """`new` / `base` with its 95 % interval; above 1 is slower.

    Where every launch of the row that has fewer lived beside one of the other, it is the median over all turns of the
    ratio of the two bursts' medians. Else it is the ratio of the rows' medians.

    Raises:
        ValueError: one of them has no samples.
    """
    turns = ratios_by_turn(base, new)
    if turns is None:
        return ratio_interval(base.samples_by_launch, new.samples_by_launch)
    return paired_interval(turns)


def ratios_by_turn(base: Measurement, new: Measurement) -> list[list[float]] | None:
    """Of each pair of launches the ratio of every turn, `new` / `base`; None if the rows were not measured in turn."""
    ours, theirs = base.burst_medians_ms, new.burst_medians_ms
    shared = [group for group in ours if group in theirs]
    if not shared or len(shared) < min(len(base.launches), len(new.launches)):
        return None
    turns = [
        # Whoever was done earlier has no burst in the last turns.
        [after / before for before, after in zip(ours[group], theirs[group], strict=False)]
        for group in shared
    ]
    return turns if all(len(ratios) >= FEWEST_TURNS for ratios in turns) else None
