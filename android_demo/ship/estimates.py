"""How long each part of the loop will take, before it is known: from what it took here before, else from experience."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from android_demo.ship.ground import Ground
from android_demo.ship.question import Question, in_words
from android_demo.ship.steps import Step

SECONDS_PER_ARTIFACT = 12.0
"""To export and to measure one artifact of a small network; on two cores of a rented virtual machine."""
SECONDS_OF_A_COMMAND = 6.0
"""For a command to begin and end."""
FINALISTS_AND_TEACHER = 3


@dataclass(frozen=True)
class Part:
    """One part of the loop.

    Attributes:
        what: for people.
        seconds: estimated; None for whatever the others leave of the time given.
    """

    what: str
    seconds: float | None

    def in_words(self, question: Question, reserved_s: float) -> str:
        """Its time for people."""
        if self.seconds is not None:
            return f"about {in_words(self.seconds)}"
        left_s = question.time_s - reserved_s
        return f"{in_words(left_s)} at most" if left_s > 0 else "no time is left: one epoch each"


def parts(question: Question, ground: Ground, known: Sequence[Step]) -> list[Part]:
    """All parts in their order; what has been done before takes what it took."""
    artifacts = len(ground.formats) * len(question.precisions)
    screening_s = _typical(known, "time ") or artifacts * SECONDS_PER_ARTIFACT + SECONDS_OF_A_COMMAND
    students = len(question.students)
    steps = [Part(f"time {students} untrained students, {artifacts} exports each", students * screening_s)]
    if ground.teacher is None:
        steps.append(Part("train the teacher", None))
    steps.append(Part(f"train those that keep the budget, finalists for up to {question.epochs} epochs", None))
    steps.append(Part("export the finalists and the teacher", artifacts * 2 * SECONDS_PER_ARTIFACT))
    steps.append(Part("measure and choose", artifacts * 2 * SECONDS_PER_ARTIFACT))
    steps.append(Part("bundle, record and page", 2 * SECONDS_OF_A_COMMAND))
    return steps


def reserve_s(question: Question, ground: Ground) -> float:
    """Of the time given, for what comes after training."""
    artifacts = len(ground.formats) * len(question.precisions)
    return (2 * artifacts + FINALISTS_AND_TEACHER) * 2 * SECONDS_PER_ARTIFACT + 4 * SECONDS_OF_A_COMMAND


def _typical(known: Sequence[Step], beginning: str) -> float | None:
    seconds = [step.seconds for step in known if step.name.startswith(beginning)]
    return median(seconds) if seconds else None
