"""Parity: an artifact against eager PyTorch on the same images, judged by `export.proof.limits`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS
from export.artifact.answers import Answers
from export.artifact.manifest import ANY_BATCH, Parity, PrecisionName, Verdict
from export.artifact.paired import FIRST_ERROR, Paired, paired_interval, share_interval
from export.artifact.runner import Batch, Runner, run_all
from export.proof import pixels
from export.proof.evidence import HeldOut
from export.proof.limits import FLOAT_MIN_AGREEMENT, Limit, limit
from export.proof.logits import Closeness, closeness, why_not_exercised
from export.proof.reliability import calibration_error, confidences

DYNAMIC_SIZES = (1, 3, 8)
"""Batch sizes that an artifact for any batch is run with, in turn."""

CHUNK = 64
"""Images turned into float at a time, so that memory does not grow with their number."""

IMAGES_IN_WORDS = {
    "held-out": "held-out images",
    "folder": "images of the folder",
    "synthetic": "synthetic images (the card names no data)",
}

SHOWN = {"pass": "shown", "fail": "shown not to", "open": "neither is shown"}

Further = Callable[[HeldOut], HeldOut | None]
"""More images of the same data with eager's logits; None if there are no more (see `export.proof.evidence.further`)."""


def measure(
    runner: Runner, held_out: HeldOut, preprocess: Preprocess, precision: PrecisionName, batch: int, further: Further
) -> Parity:
    """Run an artifact in a batch that it takes, -1 for one that takes any, and judge it.

    Starts with the held-out images at hand; while they leave the answer open, takes as many again.
    """
    proven_by = f"{runner.runtime} {runner.runtime_version}"
    if precision not in FLOAT_MIN_AGREEMENT:
        held_out = held_out.without_made()
    logits = run_held_out(runner, held_out.images, preprocess, batch)
    error = FIRST_ERROR
    while True:
        parity = judge(logits, held_out, precision, proven_by=proven_by, error=error)
        if parity.verdict != "open" or (more := further(held_out)) is None:
            return parity
        logits = np.concatenate([logits, run_held_out(runner, more.images, preprocess, batch)])
        held_out = held_out.followed_by(more)
        error /= 2


def run_held_out(runner: Runner, images: NDArray[np.uint8], preprocess: Preprocess, batch: int) -> Batch:
    """Logits float32 [N, classes] of images uint8 [N, H, W, C]."""
    sizes = DYNAMIC_SIZES if batch == ANY_BATCH else (batch,)
    return np.concatenate([run_all(runner, chunk, batch_sizes=sizes) for chunk in _inputs(images, preprocess, sizes)])


def judge(
    logits: Batch, held_out: HeldOut, precision: PrecisionName, *, proven_by: str, error: float = FIRST_ERROR
) -> Parity:
    """Compare logits [N, classes] with eager's; logits that are not finite fail in any precision.

    Floats must have eager's logits, up to the rounding of their precision. Where agreement decides and the images do
    not exercise the network, the verdict is open.

    Args:
        logits: of the artifact on the held-out images.
        held_out: those, and eager's logits.
        precision: decides the limit.
        proven_by: what ran the artifact.
        error: probability with which either bound of `kept_interval` may be on the wrong side of the truth.
    """
    eager, labels = held_out.eager_logits, held_out.labels
    limits = limit(precision, has_labels=labels is not None, task=held_out.task)
    if not np.isfinite(logits).all():
        count = int((~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1)).sum())
        reason = f"logits of {count} of {len(logits)} images are not finite"
        return _without_numbers("fail", reason, held_out, len(logits), limits, proven_by)
    if TASKS[held_out.task].is_dense:
        return _judge_pixels(logits, held_out, precision, limits, proven_by=proven_by, error=error)
    difference = np.abs(logits.astype(np.float64) - eager)
    agreement = float((logits.argmax(1) == eager.argmax(1)).mean())
    accuracies = _without_labels() if labels is None else _against_labels(logits, labels, held_out, error)
    close = closeness(logits, eager, precision) if precision in FLOAT_MIN_AGREEMENT else None
    unexercised = why_not_exercised(eager) if limits.judged_by == "agreement" else None
    if limits.judged_by == "accuracy":
        verdict = decide(accuracies["kept_interval"], limits.at_least)
    else:
        verdict = decide_by_answers(agreement, limits.at_least, close, unexercised)
    reason = _in_words(verdict, agreement, accuracies, limits, precision, held_out)
    reason += f"; {close.words}" if close else ""
    reason += f"; {unexercised}, which shows little" if verdict == "open" and unexercised else ""
    return Parity(
        verdict=verdict,
        reason=reason,
        judged_by=limits.judged_by,
        limit=limits.at_least,
        proven_by=proven_by,
        images=held_out.source,
        num_images=len(logits),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=agreement,
        confidence=float(confidences(logits).mean()),
        eager_confidence=float(confidences(eager).mean()),
        **accuracies,
    )


def decide_by_answers(agreement: float, at_least: float, close: Closeness | None, unexercised: str | None) -> Verdict:
    """By agreement of answers and, in float precisions, by closeness of logits; open if the images show too little."""
    keeps = agreement >= at_least if close is None else close.is_close and close.agreement >= at_least
    if not keeps:
        return "fail"
    return "pass" if unexercised is None else "open"


def decide(kept_interval: tuple[float, float] | None, at_least: float) -> Verdict:
    """Shown to keep the limit, shown to lose more, or neither; who is never right (None) has nothing to lose."""
    if kept_interval is None or kept_interval[0] >= at_least:
        return "pass"
    return "fail" if kept_interval[1] < at_least else "open"


def _against_labels(logits: Batch, labels: NDArray[np.int64], held_out: HeldOut, error: float) -> dict[str, Any]:
    """What of `Parity` needs labels."""
    eager = held_out.eager_logits
    ours, theirs = logits.argmax(1) == labels, eager.argmax(1) == labels

    def of_class(chosen: NDArray[np.bool_] | slice) -> tuple[int, ...]:
        return tuple(np.bincount(labels[chosen], minlength=logits.shape[1]).tolist())

    return {
        "accuracy": float(ours.mean()),
        "eager_accuracy": float(theirs.mean()),
        "accuracy_interval": paired_interval(ours, theirs),
        "kept_interval": share_interval(Paired.count(ours, theirs), error=error),
        "calibration_error": calibration_error(confidences(logits), ours),
        "eager_calibration_error": calibration_error(confidences(eager), theirs),
        "class_images": of_class(slice(None)),
        "class_correct": of_class(ours),
        "eager_class_correct": of_class(theirs),
        "answers": Answers.of(ours, held_out.order_sha256) if held_out.order_sha256 else None,
        "quality": float(ours.mean()),
        "eager_quality": float(theirs.mean()),
    }


def _judge_pixels(
    answers: Batch, held_out: HeldOut, precision: PrecisionName, limits: Limit, *, proven_by: str, error: float
) -> Parity:
    """As `judge`, of finite answers for every pixel [N, outputs, H, W]."""
    eager, measure = held_out.eager_logits, TASKS[held_out.task].measure
    found = pixels.compare(answers, held_out, error=error)
    close = pixels.closeness_of(answers, eager, precision) if precision in FLOAT_MIN_AGREEMENT else None
    if limits.judged_by == "quality":
        verdict = decide(found.kept_interval, limits.at_least)
    else:
        verdict = decide_by_answers(found.agreement, limits.at_least, close, None)
    images = f"{len(answers)} {IMAGES_IN_WORDS[held_out.source]}"
    if limits.judged_by == "quality" and found.kept_interval is not None:
        assert found.quality is not None
        assert found.eager_quality is not None
        low, high = found.kept_interval
        ours, theirs = measure.shown(found.quality), measure.shown(found.eager_quality)
        reason = (
            f"{measure.title} {ours}, eager's {theirs} on {images}: "
            f"keeps {measure.kept(found.quality, found.eager_quality):.4f} ({low:.4f} to {high:.4f}, 95%), {precision} "
            f"must keep {limits.at_least:.4g}: {SHOWN[verdict]}"
        )
    else:
        reason = f"{pixels.agreement_in_words(held_out.task, found.agreement)} on {images}, {precision} needs "
        reason += f"{limits.at_least:.4g}{f'; {close.words}' if close else ''}"
    difference = np.abs(answers.astype(np.float64) - eager)
    known = _without_labels() | {
        "accuracy": found.share,
        "eager_accuracy": found.eager_share,
        "kept_interval": found.kept_interval,
        "class_images": found.class_pixels,
        "class_correct": found.class_correct,
        "eager_class_correct": found.eager_class_correct,
        "quality": found.quality,
        "eager_quality": found.eager_quality,
    }
    return Parity(
        verdict=verdict,
        reason=reason,
        judged_by=limits.judged_by,
        limit=limits.at_least,
        proven_by=proven_by,
        images=held_out.source,
        num_images=len(answers),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=found.agreement,
        confidence=None,
        eager_confidence=None,
        **known,
    )


def _without_labels() -> dict[str, Any]:
    return dict.fromkeys(
        (
            "accuracy",
            "eager_accuracy",
            "accuracy_interval",
            "kept_interval",
            "calibration_error",
            "eager_calibration_error",
            "class_images",
            "class_correct",
            "eager_class_correct",
            "answers",
            "quality",
            "eager_quality",
        )
    )


def not_run(reason: str, held_out: HeldOut) -> Parity:
    """Parity of an artifact that this machine cannot run."""
    return _without_numbers("not-run", reason, held_out, 0, None, None)


def share_kept(accuracy: float, eager_accuracy: float) -> float:
    """Accuracy as a share of eager's; a model that is never right loses nothing."""
    return accuracy / eager_accuracy if eager_accuracy else 1.0


def _in_words(
    verdict: Verdict,
    agreement: float,
    accuracies: Mapping[str, Any],
    limits: Limit,
    precision: PrecisionName,
    held_out: HeldOut,
) -> str:
    images = f"{len(held_out.images) - held_out.num_made} {IMAGES_IN_WORDS[held_out.source]}"
    images += f" and {held_out.num_made} made ones" if held_out.num_made else ""
    if limits.judged_by == "agreement":
        return f"top-1 agreement {agreement:.2%} on {images}, {precision} needs {limits.at_least:.4g}"
    if accuracies["kept_interval"] is None:
        return f"eager is never right on {images}, so that {precision} has nothing to lose"
    low, high = accuracies["kept_interval"]
    kept = share_kept(accuracies["accuracy"], accuracies["eager_accuracy"])
    return (
        f"keeps {kept:.4f} of eager's accuracy on {images} ({low:.4f} to {high:.4f}, 95%), "
        f"{precision} must keep {limits.at_least}: {SHOWN[verdict]}"
    )


def _without_numbers(
    verdict: Verdict, reason: str, held_out: HeldOut, num_images: int, limits: Limit | None, proven_by: str | None
) -> Parity:
    return Parity(
        verdict=verdict,
        reason=reason,
        judged_by=limits.judged_by if limits else None,
        limit=limits.at_least if limits else None,
        proven_by=proven_by,
        images=held_out.source,
        num_images=num_images,
        max_abs_difference=None,
        mean_abs_difference=None,
        top1_agreement=None,
        confidence=None,
        eager_confidence=None,
        **_without_labels(),
    )


def _inputs(images: NDArray[np.uint8], preprocess: Preprocess, sizes: Sequence[int]) -> Iterator[Batch]:
    step = sum(sizes) * max(1, CHUNK // sum(sizes))
    for start in range(0, len(images), step):
        yield preprocess.to_input(images[start : start + step])
