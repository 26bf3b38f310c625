"""What each method's step costs, against the supervised step of the same student in the same rounds.

The teacher's answers are kept, or it is asked in every step; then its bare forward pass, measured in the same rounds,
is taken off. What remains must not be more than 1.10 × the supervised step (0.91 as base / new).
"""

import itertools
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from distill.methods import METHODS, Outputs
from distill.methods.deep_mutual_learning import DeepMutualLearningConfig
from distill.methods.scratch import ScratchConfig
from distill.training.batches import Batches
from tests.performance.side_by_side import Comparison
from tests.performance.training import BATCH, DATA, SMALL, STEPS, Asked, nobody, our_loop

ROUNDS = 9
RESPONSE_METHODS = (
    "hinton_kd",
    "conditional_teacher_student",
    "curriculum_temperature",
    "cross_quality_kd",
    "spherical_kd",
    "weighted_soft_labels",
    "decoupled_kd",
)
COHORT = DeepMutualLearningConfig(cohort=3)


def comparisons() -> list[Comparison]:
    """Every method's step against the supervised one."""
    torch.set_num_threads(2)
    seconds = in_rounds(pieces_of_work(), rounds=ROUNDS)
    supervised = seconds["supervised"]

    def against_supervised(name: str, goal: str, new_s: np.ndarray) -> Comparison:
        return Comparison(f"{name}, against supervised", goal, tuple(supervised), tuple(new_s))

    kept = [against_supervised(f"{kind} step, teacher kept", "≥ 0.91", seconds[kind]) for kind in RESPONSE_METHODS]
    asked = [
        against_supervised(
            f"{kind} step, teacher asked, less its forward pass",
            "≥ 0.91",
            seconds[f"{kind}, asked"] - seconds["teacher"],
        )
        for kind in RESPONSE_METHODS
    ]
    mutual = seconds["deep_mutual_learning"] / COHORT.cohort
    return [
        *kept,
        *asked,
        against_supervised("the teacher's forward pass alone", "–", seconds["teacher"]),
        against_supervised(f"deep_mutual_learning step per student, cohort of {COHORT.cohort}", "–", mutual),
    ]


def pieces_of_work() -> dict[str, Callable[[], object]]:
    """`STEPS` steps each, by name."""
    split = DATA.load("train", SMALL)
    table, teacher = torch.randn(len(split), 10), Asked()
    batches = Batches(split, batch_size=BATCH, device=torch.device("cpu"))
    some = list(itertools.islice(batches.epoch(0), STEPS))
    work: dict[str, Callable[[], object]] = {
        "supervised": our_loop(split, nobody, ScratchConfig()),
        "teacher": lambda: [teacher(batch) for batch in some],
        "deep_mutual_learning": our_loop(split, nobody, COHORT),
    }
    for kind in RESPONSE_METHODS:
        work[kind] = our_loop(split, lambda batch: Outputs(table[batch.indices]), METHODS[kind]())  # type: ignore[call-arg]
        work[f"{kind}, asked"] = our_loop(split, teacher, METHODS[kind]())  # type: ignore[call-arg]
    return work


def in_rounds(work: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, np.ndarray]:
    """Seconds per round of every piece; each is done once unmeasured, each round begins with another one."""
    for piece in work.values():
        piece()
    seconds = {name: np.zeros(rounds) for name in work}
    names = list(work)
    for turn in range(rounds):
        start = turn * len(names) // rounds
        for name in [*names[start:], *names[:start]]:
            started = time.perf_counter()
            work[name]()
            seconds[name][turn] = time.perf_counter() - started
    return seconds
