"""The training images in two parts: some to calibrate with, and a hold-out of others on which choices are made."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError
from distill.vision.datasets import Split
from export.doctor.jitter import jitter
from export.quantize.calibration import CalibrationSet, from_training
from export.quantize.recipe import HoldOutIdentity

LEAST_HOLD_OUT = 20
"""Of fewer images nothing can be learnt about a percent of accuracy."""


@dataclass(frozen=True)
class CalibrationSplit:
    """Disjoint parts of the training images, both class-balanced; the hold-out is jittered, and `identity` is its."""

    calibration: CalibrationSet
    hold_out: Split
    identity: HoldOutIdentity


def split_training(
    train: Split, *, num_calibration: int, num_hold_out: int, seed: int, sha256: str
) -> CalibrationSplit:
    """Choose both parts by a seed.

    The calibration images are exactly those that `python -m export` takes by the same seed and count, so that the
    export makes the artifact that was measured. The hold-out has no patient in common with them where the data name
    patients (groups) and enough are left.

    Args:
        train: the training split.
        num_calibration: at most so many images to calibrate with.
        num_hold_out: at most so many to choose on.
        seed: of both choices.
        sha256: identity of the split.

    Raises:
        UsageError: too few images are left for the hold-out.
    """
    calibration = from_training(train, num_calibration, seed=seed, sha256=sha256)
    taken = train_indices(train, num_calibration, seed=seed)
    left = np.setdiff1d(np.arange(len(train)), taken)
    apart = np.empty(0, dtype=np.int64)
    if train.groups is not None:
        apart = left[~np.isin(train.groups[left], train.groups[taken])]
    by_group = len(apart) >= max(LEAST_HOLD_OUT, num_hold_out // 2)
    candidates = apart if by_group else left
    if len(candidates) < LEAST_HOLD_OUT:
        raise UsageError(
            f"{len(train)} training images leave {len(candidates)} besides the {len(taken)} to calibrate with, and the "
            f"doctor needs {LEAST_HOLD_OUT} to choose on. Calibrate with fewer: --calibration-images {len(train) // 2}."
        )
    hold_out = _balanced_part(train, candidates, num_hold_out, seed)
    identity = HoldOutIdentity(
        num_images=len(hold_out),
        seed=seed,
        images_sha256=_sha256(hold_out),
        data_sha256=sha256,
        apart_by_group=by_group,
    )
    return CalibrationSplit(calibration, hold_out, identity)


def train_indices(train: Split, count: int, *, seed: int) -> NDArray[np.int64]:
    """Positions of the images that `Split.balanced` takes, in its order."""
    return np.asarray(_positions(train).balanced(count, seed=seed).images, dtype=np.int64).reshape(-1)


def _balanced_part(train: Split, candidates: NDArray[np.int64], count: int, seed: int) -> Split:
    chosen = _positions(train).take(candidates).balanced(count, seed=seed)
    part = train.take(np.asarray(chosen.images, dtype=np.int64).reshape(-1))
    return jitter(part, seed=seed)


def _positions(train: Split) -> Split:
    """The split with each image replaced by its position, so that a choice can be read off without decoding."""
    positions = np.arange(len(train), dtype=np.int64).reshape(-1, 1, 1, 1)
    return Split(positions, train.labels, train.class_names, train.groups)  # pyright: ignore[reportArgumentType]


def _sha256(split: Split) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(split.labels).tobytes())
    digest.update(np.ascontiguousarray(np.asarray(split.images)).tobytes())
    if split.truth is not None:
        digest.update(np.ascontiguousarray(np.asarray(split.truth)).tobytes())
    return digest.hexdigest()
