"""Parity: an artifact against eager PyTorch on the same images, judged by `export.proof.limits`."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from distill.vision.preprocess import Preprocess
from export.artifact.manifest import ANY_BATCH, Parity, PrecisionName
from export.artifact.runner import Batch, Runner, run_all
from export.proof.evidence import HeldOut
from export.proof.limits import Limit, limit, paired_interval

DYNAMIC_SIZES = (1, 3, 8)
"""Batch sizes that an artifact for any batch is run with, in turn."""

CHUNK = 64
"""Images turned into float at a time, so that memory does not grow with their number."""

IMAGES_IN_WORDS = {
    "held-out": "held-out images",
    "folder": "images of the folder",
    "synthetic": "synthetic images (the card names no data)",
}


def measure(runner: Runner, held_out: HeldOut, preprocess: Preprocess, precision: PrecisionName, batch: int) -> Parity:
    """Run an artifact on the held-out images in a batch that it takes, -1 for one that takes any, and judge it."""
    logits = run_held_out(runner, held_out.images, preprocess, batch)
    return judge(logits, held_out, precision, proven_by=f"{runner.runtime} {runner.runtime_version}")


def run_held_out(runner: Runner, images: NDArray[np.uint8], preprocess: Preprocess, batch: int) -> Batch:
    """Logits float32 [N, classes] of images uint8 [N, H, W, C]."""
    sizes = DYNAMIC_SIZES if batch == ANY_BATCH else (batch,)
    return np.concatenate([run_all(runner, chunk, batch_sizes=sizes) for chunk in _inputs(images, preprocess, sizes)])


def judge(logits: Batch, held_out: HeldOut, precision: PrecisionName, *, proven_by: str) -> Parity:
    """Compare logits [N, classes] with eager's; logits that are not finite fail in any precision."""
    eager, labels = held_out.eager_logits, held_out.labels
    limits = limit(precision, has_labels=labels is not None)
    if not np.isfinite(logits).all():
        count = int((~np.isfinite(logits).all(axis=1)).sum())
        reason = f"logits of {count} of {len(logits)} images are not finite"
        return _without_numbers("fail", reason, held_out, len(logits), limits, proven_by)
    difference = np.abs(logits.astype(np.float64) - eager)
    agreement = float((logits.argmax(1) == eager.argmax(1)).mean())
    accuracy = eager_accuracy = interval = None
    kept = agreement
    if labels is not None:
        ours, theirs = logits.argmax(1) == labels, eager.argmax(1) == labels
        accuracy, eager_accuracy = float(ours.mean()), float(theirs.mean())
        interval = paired_interval(ours, theirs)
        if limits.judged_by == "accuracy":
            kept = share_kept(accuracy, eager_accuracy)
    return Parity(
        verdict="pass" if kept >= limits.at_least else "fail",
        reason=_in_words(kept, limits, precision, held_out, interval),
        judged_by=limits.judged_by,
        limit=limits.at_least,
        proven_by=proven_by,
        images=held_out.source,
        num_images=len(logits),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=agreement,
        accuracy=accuracy,
        eager_accuracy=eager_accuracy,
        accuracy_interval=interval,
    )


def not_run(reason: str, held_out: HeldOut) -> Parity:
    """Parity of an artifact that this machine cannot run."""
    return _without_numbers("not-run", reason, held_out, 0, None, None)


def share_kept(accuracy: float, eager_accuracy: float) -> float:
    """Accuracy as a share of eager's; a model that is never right loses nothing."""
    return accuracy / eager_accuracy if eager_accuracy else 1.0


def _in_words(
    kept: float,
    limits: Limit,
    precision: PrecisionName,
    held_out: HeldOut,
    interval: tuple[float, float] | None,
) -> str:
    images = f"{len(held_out.images)} {IMAGES_IN_WORDS[held_out.source]}"
    if limits.judged_by == "agreement":
        return f"top-1 agreement {kept:.2%} on {images}, {precision} needs {limits.at_least:.4g}"
    assert interval is not None, "accuracy is judged only where there are labels"
    low, high = interval
    return (
        f"keeps {kept:.4f} of eager's accuracy on {images} (difference {low * 100:+.1f} to {high * 100:+.1f} points, "
        f"95%), {precision} must keep {limits.at_least}"
    )


def _without_numbers(
    verdict: str, reason: str, held_out: HeldOut, num_images: int, limits: Limit | None, proven_by: str | None
) -> Parity:
    return Parity.model_validate(
        {
            "verdict": verdict,
            "reason": reason,
            "judged_by": limits.judged_by if limits else None,
            "limit": limits.at_least if limits else None,
            "proven_by": proven_by,
            "images": held_out.source,
            "num_images": num_images,
            "max_abs_difference": None,
            "mean_abs_difference": None,
            "top1_agreement": None,
            "accuracy": None,
            "eager_accuracy": None,
            "accuracy_interval": None,
        }
    )


def _inputs(images: NDArray[np.uint8], preprocess: Preprocess, sizes: Sequence[int]) -> Iterator[Batch]:
    step = sum(sizes) * max(1, CHUNK // sum(sizes))
    for start in range(0, len(images), step):
        yield preprocess.to_input(images[start : start + step])
