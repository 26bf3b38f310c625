"""Splits made from one set of pictures: seeded, class by class, and by patient where patients are known."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError
from distill.vision.datasets.split import SplitName


def divide(
    labels: NDArray[np.int64],
    owners: NDArray[np.int64] | None,
    shares: Mapping[SplitName, float],
    class_names: tuple[str, ...],
    *,
    seed: int,
) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the pictures of each split; what no share asks for is `train`.

    The patients (or pictures, where `owners` is None) of each class are shuffled and cut, so that every split has every
    class; a patient of several classes counts for the one that most of their pictures show.

    Args:
        labels: int64 [N].
        owners: int64 [N], the patient of each picture.
        shares: part of the patients that goes to each split, all together below 1.
        class_names: for messages.
        seed: of the shuffle.

    Raises:
        UsageError: a class has fewer patients (or pictures) than there are splits.
    """
    by_patient = owners is not None
    owners = np.arange(len(labels)) if owners is None else owners
    units, unit_of = np.unique(owners, return_inverse=True)
    votes = np.zeros((len(units), len(class_names)), dtype=np.int64)
    np.add.at(votes, (unit_of, labels), 1)
    rng = np.random.default_rng(seed)
    side = np.zeros(len(units), dtype=np.int64)
    for label, name in enumerate(class_names):
        own = rng.permutation(np.flatnonzero(votes.argmax(axis=1) == label))
        if len(own) <= len(shares):
            what = "patients" if by_patient else "pictures"
            raise UsageError(
                f"class {name!r} has {len(own)} {what}, too few for {len(shares) + 1} splits that share none. "
                "Add some, or set fewer shares."
            )
        start = 0
        for number, share in enumerate(shares.values(), start=1):
            others = len(shares) - number + 1
            count = min(max(round(share * len(own)), 1), len(own) - start - others)
            side[own[start : start + count]] = number
            start += count
    names: tuple[SplitName, ...] = ("train", *shares)
    return {name: np.flatnonzero(side[unit_of] == number) for number, name in enumerate(names)}
