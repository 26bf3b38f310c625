"""Splits made from one set of pictures: seeded, class by class, and by patient where patients are known."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distill.errors import UsageError
from distill.vision.datasets.split import SplitName

ATTEMPTS = 100
"""Where most patients show several classes, one cut may leave a split without one of them, and another may not."""


def divide(
    labels: NDArray[np.int64],
    owners: NDArray[np.int64] | None,
    shares: Mapping[SplitName, float],
    class_names: tuple[str, ...],
    *,
    seed: int,
    unit: str = "patients",
) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the pictures of each split; what no share asks for is `train`.

    The patients (or pictures, where `owners` is None) of each class are shuffled and cut, so that every split shows
    every class; a patient of several classes counts for the one that most of their pictures show.

    Args:
        labels: int64 [N].
        owners: int64 [N], the patient of each picture.
        shares: part of the patients that goes to each split, all together below 1.
        class_names: for messages.
        seed: of the shuffle.
        unit: what the owners are, for messages.

    Raises:
        UsageError: a class has too few patients (or pictures) for every split to show it.
    """
    by_patient = owners is not None
    owners = np.arange(len(labels)) if owners is None else owners
    units, unit_of = np.unique(owners, return_inverse=True)
    votes = np.zeros((len(units), len(class_names)), dtype=np.int64)
    np.add.at(votes, (unit_of, labels), 1)
    rng = np.random.default_rng(seed)
    main = votes.argmax(axis=1)
    side = np.zeros(len(units), dtype=np.int64)
    for attempt in range(ATTEMPTS):
        side = _cut(main, len(class_names), tuple(shares.values()), rng)
        shown = [(votes[side == number] > 0).any(axis=0) for number in range(len(shares) + 1)]
        lacking = np.flatnonzero(~np.all(shown, axis=0))
        if not len(lacking):
            break
        if attempt == ATTEMPTS - 1:
            count, name = int((votes[:, lacking[0]] > 0).sum()), class_names[lacking[0]]
            what = unit if by_patient else "pictures"
            raise UsageError(
                f"class {name!r} has {count} {what}, too few for {len(shares) + 1} splits that share none. "
                "Add some, or set fewer shares."
            )
    names: tuple[SplitName, ...] = ("train", *shares)
    return {name: np.flatnonzero(side[unit_of] == number) for number, name in enumerate(names)}


def _cut(
    main: NDArray[np.int64], classes: int, shares: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The split of each patient, 0 for what no share asks for; `main` int64 is the class that each mostly shows."""
    side = np.zeros(len(main), dtype=np.int64)
    for label in range(classes):
        own = rng.permutation(np.flatnonzero(main == label))
        if len(own) <= len(shares):  # the class is shown by patients of other classes, or by too few
            side[own] = rng.permutation(len(shares) + 1)[: len(own)]
            continue
        start = 0
        for number, share in enumerate(shares, start=1):
            others = len(shares) - number + 1
            count = min(max(round(share * len(own)), 1), len(own) - start - others)
            side[own[start : start + count]] = number
            start += count
    return side
