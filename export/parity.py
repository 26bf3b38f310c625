"""Parity: an artifact against eager PyTorch on the same held-out images, judged by stated limits."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from distill.vision.preprocess import Preprocess
from export.artifact.manifest import Parity, PrecisionName
from export.artifact.runner import Batch, Runner, run_all
from export.evidence import HeldOut

FP32_MIN_AGREEMENT = 1.0
INT8_MIN_RELATIVE_ACCURACY = 0.99

CHUNK = 64
"""Images turned into float at a time, so that memory does not grow with their number."""


def measure(runner: Runner, held_out: HeldOut, preprocess: Preprocess, precision: PrecisionName) -> Parity:
    """Run an artifact on the held-out images, one by one, and judge it."""
    return judge(run_held_out(runner, held_out.images, preprocess), held_out, precision)


def run_held_out(runner: Runner, images: NDArray[np.uint8], preprocess: Preprocess) -> Batch:
    """Logits float32 [N, classes] of images uint8 [N, H, W, C]."""
    return np.concatenate([run_all(runner, chunk) for chunk in _inputs(images, preprocess)])


def judge(logits: Batch, held_out: HeldOut, precision: PrecisionName) -> Parity:
    """Compare logits [N, classes] with eager's.

    Limits: fp32 must give eager's class for every image; int8 must keep 0.99 of eager's accuracy on these images.
    Logits that are not finite fail in any precision.
    """
    eager, labels = held_out.eager_logits, held_out.labels
    if not np.isfinite(logits).all():
        count = int((~np.isfinite(logits).all(axis=1)).sum())
        return _without_numbers("fail", f"logits of {count} of {len(logits)} images are not finite", len(logits))
    difference = np.abs(logits.astype(np.float64) - eager)
    agreement = float((logits.argmax(1) == eager.argmax(1)).mean())
    accuracy = None if labels is None else float((logits.argmax(1) == labels).mean())
    eager_accuracy = None if labels is None else float((eager.argmax(1) == labels).mean())
    passed, reason = _verdict(precision, agreement, accuracy, eager_accuracy)
    return Parity(
        verdict="pass" if passed else "fail",
        reason=reason,
        num_images=len(logits),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=agreement,
        accuracy=accuracy,
        eager_accuracy=eager_accuracy,
    )


def not_run(reason: str) -> Parity:
    """Parity of an artifact that this machine cannot run."""
    return _without_numbers("not-run", reason, 0)


def _verdict(
    precision: PrecisionName, agreement: float, accuracy: float | None, eager_accuracy: float | None
) -> tuple[bool, str]:
    if precision == "fp32":
        images = "held-out images" if accuracy is not None else "synthetic images (the card names no data)"
        return agreement >= FP32_MIN_AGREEMENT, f"top-1 agreement {agreement:.2%} on {images}, fp32 needs 100%"
    if accuracy is None or eager_accuracy is None:
        return False, "int8 is judged by accuracy, and the card names no data to measure it on"
    kept = accuracy / eager_accuracy if eager_accuracy else 1.0
    limit = f"int8 must keep {INT8_MIN_RELATIVE_ACCURACY}"
    return kept >= INT8_MIN_RELATIVE_ACCURACY, f"keeps {kept:.4f} of eager's accuracy, {limit}"


def _without_numbers(verdict: str, reason: str, num_images: int) -> Parity:
    return Parity.model_validate(
        {
            "verdict": verdict,
            "reason": reason,
            "num_images": num_images,
            "max_abs_difference": None,
            "mean_abs_difference": None,
            "top1_agreement": None,
            "accuracy": None,
            "eager_accuracy": None,
        }
    )


def _inputs(images: NDArray[np.uint8], preprocess: Preprocess) -> Iterator[Batch]:
    for start in range(0, len(images), CHUNK):
        yield preprocess.to_input(images[start : start + CHUNK])
