"""What a network costs: its speed-up over the teacher and its bytes as measured by bench, or else its parameters.

Times are joined by the checkpoint's hash and compared under like conditions only. A technique changes a network's
weights and not its graph, so the times of all measured checkpoints of one network at one image size are times of that
network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.figures.journal import Conditions, Time
from distill.figures.runs import StudyRuns

Network = tuple[str, int]
"""Name and image size."""


@dataclass(frozen=True)
class Cost:
    """Where a network stands on the x axis.

    Attributes:
        value: speed-up (mean over measured checkpoints) or millions of parameters.
        low, high: the smallest and the largest of several measured checkpoints.
        size_bytes: of the exported model; None where nothing was measured.
    """

    value: float
    low: float
    high: float
    size_bytes: int | None


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
    """Teacher's median / student's median per network; None if they were not measured under like conditions."""
    conditions = like_conditions(study, times)
    if conditions is None or study.teacher is None:
        return None
    alike = {time.checkpoint_sha256: time for time in times if time.conditions == conditions}
    teacher = alike[study.teacher.card.weights_sha256]
    measured: dict[Network, list[Time]] = {}
    for run in study.repeats:
        if run.card.weights_sha256 in alike:
            measured.setdefault(run.network, []).append(alike[run.card.weights_sha256])
    costs: dict[Network, Cost] = {}
    for network, found in measured.items():
        ratios = [teacher.latency_ms / time.latency_ms for time in found]
        largest = max(time.size_bytes for time in found)
        costs[network] = Cost(float(np.mean(ratios)), min(ratios), max(ratios), largest)
    count = sum(len(found) for found in measured.values())
    return Costs(Cost(1.0, 1.0, 1.0, teacher.size_bytes), costs, conditions, count)


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
