"""What logits say: accuracy, agreement, the exact paired test, classes, confidence, and which answers changed."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.record.answered import AgainstEager, Answered, ChangedAnswer
from bench.session.answers.held_out import HeldOut
from bench.timing.proportions import share_interval
from export.artifact.answers import Answers
from export.artifact.paired import Paired

Logits = NDArray[np.float32]
"""[N, classes]; a row of NaN stands for a picture that was not decoded."""

NOT_ANSWERED = -1


@dataclass(frozen=True)
class Unreadable:
    """A picture that a device does not decode."""

    index: int
    reason: str


def judged(
    logits: Logits,
    held_out: HeldOut,
    *,
    eager: Logits | None,
    host: Logits | None,
    unreadable: Sequence[Unreadable] = (),
    rewritten: int = 0,
    fault: str | None = None,
) -> Answered:
    """The record of a model's answers.

    Args:
        logits: of the device.
        held_out: the pictures.
        eager: logits of eager PyTorch on this machine; None if there is no such artifact.
        host: logits of the same artifact on this machine; None if it was not run.
        unreadable: pictures the device did not decode.
        rewritten: how many pictures went as PNG.
        fault: what is wrong with the answers, if that was found.
    """
    predicted, labels, classes = answers_of(logits), held_out.labels, len(held_out.class_names)
    right = predicted == labels
    return Answered(
        answers=Answers.of(right, held_out.order_sha256),
        accuracy_interval=share_interval(float(right.mean()), len(right)),
        confidence=confidence(logits),
        class_names=held_out.class_names,
        class_images=per_class(labels, np.ones_like(right), classes),
        class_correct=per_class(labels, right, classes),
        unreadable=tuple(f"{held_out.names[each.index]}: {each.reason}" for each in unreadable),
        rewritten=rewritten,
        host_agreement=None if host is None else float(np.mean(predicted == answers_of(host))),
        host_difference=None if host is None else distance(logits, host),
        eager=None if eager is None else _against(eager, predicted, held_out),
        fault=fault,
        logits_sha256=hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest(),
    )


def answers_of(logits: Logits) -> NDArray[np.int64]:
    """The class of each picture, int64 [N]; `NOT_ANSWERED` where a logit is no number."""
    is_known = np.asarray(np.isfinite(logits).all(axis=1))
    return np.where(is_known, np.argmax(np.nan_to_num(logits, nan=0.0), axis=1), NOT_ANSWERED)


def confidence(logits: Logits) -> float:
    """Mean softmax share of the answered class over the pictures that were answered; 0 if none was."""
    known = logits[np.isfinite(logits).all(axis=1)].astype(np.float64)
    if not len(known):
        return 0.0
    return float(np.mean(1 / np.exp(known - known.max(axis=1, keepdims=True)).sum(axis=1)))


def per_class(labels: NDArray[np.int64], chosen: NDArray[np.bool_], classes: int) -> tuple[int, ...]:
    """How many of the chosen pictures each class has."""
    return tuple(int(count) for count in np.bincount(labels[chosen], minlength=classes))


def distance(logits: Logits, others: Logits) -> float:
    """Root mean square difference as a share of the spread of `others` over the pictures; 0 for equal ones.

    Only pictures that both have answered count; infinite where there is none.
    """
    both = np.isfinite(logits).all(axis=1) & np.isfinite(others).all(axis=1)
    if not both.any():
        return math.inf
    ours, theirs = logits[both].astype(np.float64), others[both].astype(np.float64)
    apart = math.sqrt(float(np.mean((ours - theirs) ** 2)))
    spread = math.sqrt(float(np.mean((theirs - theirs.mean(axis=0)) ** 2)))
    return 0.0 if apart == 0 else apart / max(spread, 1e-12)


def exact_p_value(only_ours: int, only_theirs: int) -> float:
    """Two-sided p value of the exact paired test of two models' accuracies (McNemar 1947, binomial).

    Args:
        only_ours: pictures that only one of the two answers rightly.
        only_theirs: those that only the other does.
    """
    count, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    tail = sum(math.comb(count, number) for number in range(fewer + 1))
    return min(1.0, 2 * tail / 2**count)


def _against(eager: Logits, predicted: NDArray[np.int64], held_out: HeldOut) -> AgainstEager:
    labels, names = held_out.labels, held_out.class_names
    by_eager = answers_of(eager)
    counts = Paired.count(predicted == labels, by_eager == labels)
    only_here, only_eager = int(counts.only_ours), int(counts.only_theirs)
    changed = [
        ChangedAnswer(
            picture=held_out.names[index],
            label=names[labels[index]],
            eager=names[by_eager[index]] if by_eager[index] != NOT_ANSWERED else "not a number",
            here=None if predicted[index] == NOT_ANSWERED else names[predicted[index]],
        )
        for index in np.flatnonzero(predicted != by_eager)
    ]
    return AgainstEager(
        accuracy=float(np.mean(by_eager == labels)),
        only_here=only_here,
        only_eager=only_eager,
        p_value=exact_p_value(only_here, only_eager),
        confidence=confidence(eager),
        class_correct=per_class(labels, by_eager == labels, len(names)),
        changed=tuple(changed),
    )
