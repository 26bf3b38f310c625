"""Train by successive halving inside the time given: short for all, on for the promising, to the end for finalists.

Each student has one run of the full length. It stands still at a rung (`distill run --stop-after`) and goes on from
there if it is among the better half, so no epoch is trained twice. The full length is fixed before the first rung, by
the time that one epoch of each takes, because the rate's schedule depends on it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.markup import escape

from android_demo.ship.commands import Ended
from android_demo.ship.ground import Ground
from android_demo.ship.question import Question, in_words
from android_demo.ship.record import FileIdentity, Rung, Trained
from android_demo.ship.screening import file_name
from android_demo.ship.steps import Steps, is_full, key_of
from distill.checkpoint import CARD_FILE, Card, find, read_card
from distill.contract import sha256_of_file
from distill.errors import WorkFailed
from distill.terminal import say
from distill.vision.tasks import TASKS, Measure

FINALISTS = 2
TEACHERS_SHARE = 0.5
"""Of the time for training, at most, where the teacher has to be trained, too."""
METRICS_FILE = "metrics.jsonl"


@dataclass
class Runner:
    """A student on its way; `reason` says why it goes no further."""

    student: str
    run: Path
    full_length: int
    rungs: list[Rung] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Cost:
    """What training a student takes: one epoch, and all that a process does before its first one."""

    epoch_s: float
    start_s: float


def rungs(epochs: int, count: int) -> list[tuple[int, int]]:
    """(epochs a run then has, how many students get there), the last with the finalists at full length.

    The number is halved from rung to rung until the finalists are left, the length doubled: 4 students and 24 epochs
    give 12 epochs for 4 and 24 for 2; 8 give 6 for 8, 12 for 4, 24 for 2. Short runs have fewer rungs.
    """
    counts = [count]
    while counts[-1] > FINALISTS:
        counts.append(math.ceil(counts[-1] / 2))
    last = len(counts) - 1
    lengths = {max(1, math.ceil(epochs / 2 ** (last - place))): many for place, many in enumerate(counts)}
    return sorted(lengths.items())


def cost_s(epochs: int, costs: Sequence[Cost]) -> float:
    """What all rungs take at most: of each rung the slower ones go on."""
    total, before = 0.0, 0
    slowest_first = sorted(costs, key=lambda cost: -cost.epoch_s)
    for target, many in rungs(epochs, len(costs)):
        total += sum(cost.start_s + (target - before) * cost.epoch_s for cost in slowest_first[:many])
        before = target
    return total


def longest(epochs: int, costs: Sequence[Cost], left_s: float) -> int:
    """The greatest full length, `epochs` at most and 1 at least, that fits into the time left."""
    return next((length for length in range(epochs, 1, -1) if cost_s(length, costs) <= left_s), 1)


def train_teacher(question: Question, ground: Ground, steps: Steps, reserve_s: float) -> Path:
    """Checkpoint folder of the teacher, trained now or before.

    One that is trained here gets its recipe's epochs, or as many as fit into its share of the time. A finished one is
    kept, whatever the time is now.

    Args:
        question: its time counts from the first step of all, whenever that was.
        ground: what is taken for granted.
        steps: the journal.
        reserve_s: of the time given, for what comes after all training.
    """
    if ground.teacher is not None:
        return ground.teacher
    full = ground.teacher_epochs
    run, cost = _teach(1, full, ground, steps)
    finished = [length for length in range(full, 0, -1) if steps.has(_teacher_key(length, length, ground, steps))]
    left_s = TEACHERS_SHARE * (question.time_s - steps.seconds - reserve_s)
    length = finished[0] if finished else longest(full, [cost], left_s)
    if length < full:
        say(f"the teacher gets {length} of its recipe's {full} epochs: more do not fit into the time")
    if full > 1:
        run, _ = _teach(length, length, ground, steps)
    return find(run).resolve()


def _teacher_words(epochs: int, full_length: int, ground: Ground, steps: Steps) -> tuple[Path, list[object]]:
    """(run, the command that trains it so far)."""
    whole = full_length == ground.teacher_epochs
    run = steps.folder / "runs" / ("teacher" if whole else f"teacher-{full_length}-epochs")
    settings = [*ground.teacher_settings, *([] if whole else [f"training.epochs={full_length}"])]
    words = ["run", ground.teacher_recipe, *(f"--set={each}" for each in settings), "--out", run]
    return run, [*words, "--stop-after", epochs, "--json"]


def _teacher_key(epochs: int, full_length: int, ground: Ground, steps: Steps) -> str:
    return key_of("distill", _teacher_words(epochs, full_length, ground, steps)[1], ground.identity)


def _teach(epochs: int, full_length: int, ground: Ground, steps: Steps) -> tuple[Path, Cost]:
    """Train the teacher until it has so many epochs; its run, and what they took."""
    run, words = _teacher_words(epochs, full_length, ground, steps)

    def learn(ended: Ended) -> Any:
        rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
        return {"epoch_s": median(row["seconds"] for row in rows)}

    step = steps.do(
        f"train the teacher to epoch {epochs} of {full_length}",
        "distill",
        words,
        deciding=ground.identity,
        learn=learn,
        products=lambda _: [find(run) / CARD_FILE] if epochs == full_length else [],
        more=["--resume"],
    )
    answer: Any = step.answer
    return run, Cost(answer["epoch_s"], max(0.0, step.seconds - answer["epoch_s"]))


def train(
    question: Question, ground: Ground, teacher: Path, students: Sequence[str], steps: Steps, reserve_s: float
) -> list[Trained]:
    """Every student as far as it came; those that are finished are the finalists.

    Args:
        question: its time counts from the first step of all, whenever that was.
        ground: what is taken for granted.
        teacher: its checkpoint folder.
        students: worth training.
        steps: the journal.
        reserve_s: of the time given, for what comes after.

    Raises:
        WorkFailed: none could be trained, or the disk is full.
    """
    runners = [_runner(student, question.epochs, steps) for student in students]
    costs = [cost for each in runners if (cost := _go_to(each, 1, ground, teacher, steps)) is not None]
    _raise_if_none(runners)
    left_s = question.time_s - steps.seconds - reserve_s
    length = longest(question.epochs, costs, left_s)
    most = in_words(cost_s(length, costs))
    say(
        f"training: {in_words(max(0, left_s))} left of {in_words(question.time_s)}; finalists get {length} of "
        f"{question.epochs} epochs, which takes {most} at most"
    )
    if length != question.epochs:
        runners = [each if each.reason else _runner(each.student, length, steps) for each in runners]
    for target, many in rungs(length, len(costs)):
        for runner in _best(runners, many, TASKS[ground.task].share):
            _go_to(runner, target, ground, teacher, steps)
        _raise_if_none(runners)
    return [_trained(each) for each in runners]


def _runner(student: str, full_length: int, steps: Steps) -> Runner:
    return Runner(student, steps.folder / "runs" / f"{file_name(student)}-{full_length}-epochs", full_length)


def _best(runners: Sequence[Runner], many: int, measure: Measure) -> list[Runner]:
    """Those that go on; the others are told why they do not."""
    going = [each for each in runners if not each.reason]
    if not all(each.rungs for each in going):
        return going
    ranked = sorted(going, key=lambda each: -each.rungs[-1].accuracy)
    for loser in ranked[many:]:
        worst, own = ranked[many - 1], loser.rungs[-1]
        loser.reason = (
            f"{measure.on_images(own.accuracy, 'the validation images')} after {own.epochs} epochs; the last that went "
            f"on, {worst.student}, had {100 * worst.rungs[-1].accuracy:.1f} %"
        )
        say(f"[dim]goes no further:[/] {escape(loser.student)}: {escape(loser.reason)}")
    return [each for each in going if not each.reason]


def _go_to(runner: Runner, epochs: int, ground: Ground, teacher: Path, steps: Steps) -> Cost | None:
    """Train until the run has so many epochs; None, and a reason, if that cannot be."""
    settings = [*ground.settings, f"model={runner.student}", f"training.epochs={runner.full_length}"]
    settings += ["teacher.kind=checkpoint", f"teacher.path={json.dumps(str(teacher))}"]
    words = ["run", ground.recipe, *(f"--set={each}" for each in settings), "--out", runner.run]

    def learn(ended: Ended) -> Any:
        card = Card.from_json(ended.stdout, source="distill run --json")
        assert card.training is not None, "distill run has trained it"
        rows = [json.loads(line) for line in (runner.run / METRICS_FILE).read_text().splitlines()]
        return {
            "accuracy": card.training.best.share,
            "finished": card.training.finished,
            "trained_s": sum(row["seconds"] for row in rows[-max(1, epochs - _epochs(runner)) :]),
        }

    is_last = epochs == runner.full_length
    try:
        step = steps.do(
            f"train {runner.student} to epoch {epochs} of {runner.full_length}",
            "distill",
            [*words, "--stop-after", epochs, "--json"],
            deciding={"ground": ground.identity, "teacher": sha256_of_file(teacher / CARD_FILE)},
            learn=learn,
            products=lambda _: [find(runner.run) / CARD_FILE] if is_last else [],
            more=["--resume"],
        )
    except WorkFailed as error:
        if is_full(steps.folder):
            raise
        runner.reason = str(error)
        say(f"[yellow]goes no further:[/] {escape(runner.student)}: {escape(runner.reason)}")
        return None
    answer: Any = step.answer
    trained = max(1, epochs - _epochs(runner))
    if epochs > _epochs(runner):
        runner.rungs.append(Rung(epochs=epochs, accuracy=answer["accuracy"]))
    return Cost(answer["trained_s"] / trained, max(0.0, step.seconds - answer["trained_s"]))


def _epochs(runner: Runner) -> int:
    return runner.rungs[-1].epochs if runner.rungs else 0


def _raise_if_none(runners: Sequence[Runner]) -> None:
    if all(each.reason for each in runners):
        raise WorkFailed("no student could be trained; the reasons stand above. What is finished is kept.")


def _trained(runner: Runner) -> Trained:
    finalist = not runner.reason
    card = None if not runner.rungs else find(runner.run) / CARD_FILE
    return Trained(
        student=runner.student,
        run=str(runner.run),
        full_length=runner.full_length,
        finalist=finalist,
        reason=runner.reason,
        rungs=tuple(runner.rungs),
        seconds_per_epoch=_seconds_per_epoch(runner.run),
        card=None if card is None else FileIdentity(path=str(card), sha256=sha256_of_file(card)),
        weights_sha256=None if card is None else read_card(card.parent).weights_sha256,
    )


def _seconds_per_epoch(run: Path) -> float | None:
    path = run / METRICS_FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    return median(json.loads(line)["seconds"] for line in lines) if lines else None
