"""What a network costs: its speed-up over the teacher and its bytes as measured by bench, or else its parameters.

Times are joined by the checkpoint's hash and compared under like conditions only. A technique changes a network's
weights and not its graph, so the times of all measured checkpoints of one network at one image size are times of that
network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from distill.figures.journal import VALID, Conditions, Time
from distill.figures.runs import StudyRuns

FEWEST_TURNS = 5
"""In a launch; fewer ratios say little of it."""

Network = tuple[str, int]
"""Name and image size."""


@dataclass(frozen=True)
class Cost:
    """Where a network stands on the x axis.

    Attributes:
        value: speed-up (mean over measured checkpoints) or millions of parameters.
        low, high: the least and the most that the 95 % intervals of the measured checkpoints reach.
        size_bytes: of the exported model; None where nothing was measured.
        labels: of the rows that are known badly, e.g. noisy, each once.
    """

    value: float
    low: float
    high: float
    size_bytes: int | None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ratio:
    """One time / another with its 95 % interval over launches, as wide as nothing where there was one launch."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Costs:
    """All costs of one figure.

    Attributes:
        conditions: what the times were measured under; None for parameters.
        checkpoints: how many students' checkpoints stand behind the times.
    """

    teacher: Cost
    students: dict[Network, Cost]
    conditions: Conditions | None
    checkpoints: int


def speed_ups(study: StudyRuns, times: Sequence[Time]) -> Costs | None:
    """Teacher's time / student's time per network; None if they were not measured under like conditions."""
    conditions = like_conditions(study, times)
    if conditions is None or study.teacher is None:
        return None
    alike = {time.checkpoint_sha256: time for time in times if time.conditions == conditions}
    teacher = alike[study.teacher.card.weights_sha256]
    measured: dict[Network, list[Time]] = {}
    for run in study.runs:
        if run.card.weights_sha256 in alike:
            measured.setdefault(run.network, []).append(alike[run.card.weights_sha256])
    costs: dict[Network, Cost] = {}
    for network, of_network in measured.items():
        ratios = [ratio_of(teacher, time) for time in of_network]
        costs[network] = Cost(
            float(np.mean([ratio.value for ratio in ratios])),
            min(ratio.low for ratio in ratios),
            max(ratio.high for ratio in ratios),
            max(time.size_bytes for time in of_network),
            tuple(dict.fromkeys(time.label for time in of_network if time.label != VALID)),
        )
    count = sum(len(of_network) for of_network in measured.values())
    of_teacher = (teacher.label,) if teacher.label != VALID else ()
    return Costs(Cost(1.0, 1.0, 1.0, teacher.size_bytes, of_teacher), costs, conditions, count)


def ratio_of(base: Time, time: Time) -> Ratio:
    """`base` / `time` with Student's t interval over launches, on a log scale.

    Where the launches of both took their bursts in turn, of the ratios of the turns: what the machine did then is in
    both and falls out. Else of the launches' medians (Welch).
    """
    turns = _ratios_by_turn(base, time)
    if turns is None:
        value = base.latency_ms / time.latency_ms
        samples = [[launch.latency_ms for launch in measured.launches] for measured in (base, time)]
        half_width = _welch(*samples) if min(map(len, samples)) > 1 else 0.0
    else:
        value = float(np.median(np.concatenate(turns)))
        middles = np.log([np.median(of_launch) for of_launch in turns])
        freedom = len(turns) - 1
        half_width = float(stats.t.ppf(0.975, freedom) * stats.sem(middles)) if freedom else 0.0
    return Ratio(value, value / math.exp(half_width), value * math.exp(half_width))


def _ratios_by_turn(base: Time, time: Time) -> list[list[float]] | None:
    of_base = {launch.together: launch.turns_ms for launch in base.launches if launch.together}
    pairs = [(of_base[launch.together], launch.turns_ms) for launch in time.launches if launch.together in of_base]
    if (
        len(pairs) < min(len(base.launches), len(time.launches))
        or min(len(turns) for pair in pairs for turns in pair) < FEWEST_TURNS
    ):
        return None
    # Whoever was done earlier has no burst in the last turns.
    return [[before / after for before, after in zip(*pair, strict=False)] for pair in pairs]


def _welch(ours: Sequence[float], theirs: Sequence[float]) -> float:
    ends = stats.ttest_ind(np.log(ours), np.log(theirs), equal_var=False).confidence_interval(0.95)
    return float(ends.high - ends.low) / 2 if np.isfinite(ends.high) else 0.0


def like_conditions(study: StudyRuns, times: Sequence[Time]) -> Conditions | None:
    """The conditions under which the teacher and most networks were measured; None without a common one.

    Among equals batch 1, then one thread, then eager fp32, which changes nothing about either model.
    """
    if study.teacher is None:
        return None
    network_of = {run.card.weights_sha256: run.network for run in study.repeats}
    teacher = study.teacher.card.weights_sha256
    candidates = [time.conditions for time in times if time.checkpoint_sha256 == teacher]

    def rank(conditions: Conditions) -> tuple[int, bool, bool, bool, bool]:
        of_these = {time.checkpoint_sha256 for time in times if time.conditions == conditions}
        networks = {network_of[sha256] for sha256 in of_these & network_of.keys()}
        return (
            len(networks),
            conditions.batch == 1,
            conditions.threads == 1,
            conditions.format == "eager",
            conditions.precision == "fp32",
        )

    best = max(candidates, key=rank, default=None)
    return best if best is not None and rank(best)[0] else None


def parameters(study: StudyRuns) -> Costs | None:
    """Millions of parameters per network; None without a teacher. A network has the same at every image size."""
    if study.teacher is None:
        return None
    millions = {run.network: run.card.num_parameters / 1e6 for run in study.repeats}
    students = {network: Cost(count, count, count, None) for network, count in millions.items()}
    of_teacher = study.teacher.card.num_parameters / 1e6
    return Costs(Cost(of_teacher, of_teacher, of_teacher, None), students, None, 0)
