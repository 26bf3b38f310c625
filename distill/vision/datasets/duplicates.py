"""Equal pictures, and nearly equal ones: what lets a network be examined on what it was taught."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets.split import Split, SplitName

LOOK_SIDE = 8
"""A look is the signs of LOOK_SIDE x LOOK_SIDE frequencies."""

NEAR_BITS = 4
"""Looks that differ in at most so many of their 64 bits are of nearly the same picture."""

FLAT_LEVELS = 2.0
"""Pictures whose levels deviate less than this look like one another whatever they show."""

CHUNK = 1024
MOST_COMPARISONS = 4_000_000_000
SHOWN = 5


@dataclass(frozen=True)
class Fingerprints:
    """What pictures are recognised by.

    Attributes:
        digests: [N] bytes (void of 16): equal for equal pixels.
        looks: uint64 [N], a perceptual hash: few bits differ after scaling, another compression or a slight change.
        flat: bool [N]: has next to no contrast, so that its look says nothing.
    """

    digests: NDArray[np.void]
    looks: NDArray[np.uint64]
    flat: NDArray[np.bool_]


def fingerprints(images: NDArray[np.uint8]) -> Fingerprints:
    """Of images uint8 [N, H, W, C]; the same picture has the same at one size only."""
    digests = b"".join(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)
    grey = images.mean(axis=3, dtype=np.float32)
    down, across = _cosines(images.shape[1]), _cosines(images.shape[2])
    frequencies = (down @ grey @ across.T).reshape(len(images), -1)[:, 1:]  # all but the mean level
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    bits = np.packbits(np.pad(signs, ((0, 0), (1, 0))), axis=1)
    return Fingerprints(
        np.frombuffer(digests, dtype="V16"), bits.view(np.uint64)[:, 0], grey.std(axis=(1, 2)) < FLAT_LEVELS
    )


def of_split(split: Split) -> Fingerprints:
    """Of every image of a split; streams, and asks a source that knows them already."""
    known = getattr(split.images, "fingerprints", None)
    if callable(known):
        return known()  # pyright: ignore[reportReturnType]
    parts = [
        fingerprints(split.images[np.arange(start, min(start + CHUNK, len(split)))])
        for start in range(0, len(split), CHUNK)
    ]
    return Fingerprints(
        np.concatenate([part.digests for part in parts]),
        np.concatenate([part.looks for part in parts]),
        np.concatenate([part.flat for part in parts]),
    )


def near(known: Fingerprints, other: Fingerprints) -> NDArray[np.int64] | None:
    """Pairs of nearly but not quite equal pictures: int64 [pairs, 2], one per picture of `other`, its nearest.

    None if there are so many pictures that comparing each with each would take minutes.
    """
    if len(known.looks) * len(other.looks) > MOST_COMPARISONS:
        return None
    pairs: list[tuple[int, int]] = []
    ours = np.flatnonzero(~known.flat)
    for index in np.flatnonzero(~other.flat) if len(ours) else ():
        bits = np.bitwise_count(known.looks[ours] ^ other.looks[index])
        nearest = ours[bits.argmin()]
        if bits.min() <= NEAR_BITS and known.digests[nearest] != other.digests[index]:
            pairs.append((int(nearest), int(index)))
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Remark:
    """A sentence about duplicates; `is_certain` if they are equal to the pixel, and not only alike."""

    sentence: str
    is_certain: bool


def remarks(splits: Mapping[SplitName, Split]) -> Iterator[Remark]:
    """What is to be said of each kind of duplicate among splits of files, with counts and names."""
    prints: dict[SplitName, Fingerprints] = {name: of_split(split) for name, split in splits.items()}
    names = list(splits)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            yield from _shared(first, splits[first], prints[first], second, splits[second], prints[second])
    yield from _two_labels(splits, prints)
    yield from _alike_under_two_labels(splits, prints)


def _shared(
    first: str, split: Split, ours: Fingerprints, second: str, other: Split, theirs: Fingerprints
) -> Iterator[Remark]:
    at = {digest.tobytes(): index for index, digest in reversed(list(enumerate(ours.digests)))}
    equal = [(at[digest.tobytes()], index) for index, digest in enumerate(theirs.digests) if digest.tobytes() in at]
    if equal:
        yield Remark(
            f"{len(equal)} of {len(other)} {second} pictures are in {first} as well ({_pairs(split, other, equal)}), "
            f"so the {second} figures are too good: remove the duplicates",
            is_certain=True,
        )
    pairs = near(ours, theirs)
    if pairs is None:
        yield Remark(f"{first} and {second} have too many pictures to look for nearly equal ones", is_certain=False)
        return
    same = {index for _, index in equal}
    alike = [(int(left), int(right)) for left, right in pairs if right not in same]
    if alike:
        yield Remark(
            f"{len(alike)} of {len(other)} {second} pictures look nearly like one in {first} "
            f"({_pairs(split, other, alike)}); see whether they are copies",
            is_certain=False,
        )


def _two_labels(splits: Mapping[SplitName, Split], prints: Mapping[SplitName, Fingerprints]) -> Iterator[Remark]:
    places: dict[bytes, tuple[str, str]] = {}
    twice_labelled: list[str] = []
    for name, split in splits.items():
        for index, digest in enumerate(prints[name].digests):
            here = (split.class_names[split.labels[index]], _name(split, index))
            label, there = places.setdefault(digest.tobytes(), here)
            if label != here[0]:
                twice_labelled.append(f"{there} and {here[1]}")
    if twice_labelled:
        count = "1 picture lies" if len(twice_labelled) == 1 else f"{len(twice_labelled)} pictures lie"
        yield Remark(
            f"{count} under two labels ({_few(twice_labelled)}); at most one of the two is right", is_certain=True
        )


def _alike_under_two_labels(
    splits: Mapping[SplitName, Split], prints: Mapping[SplitName, Fingerprints]
) -> Iterator[Remark]:
    """Each picture counts once, with the first one of another label that it looks like."""
    labels = np.concatenate([split.labels for split in splits.values()])
    digests = np.concatenate([prints[name].digests for name in splits])
    looks = np.concatenate([prints[name].looks for name in splits])
    kept = np.flatnonzero(~np.concatenate([prints[name].flat for name in splits]))
    if len(kept) ** 2 > MOST_COMPARISONS:
        return
    places = [(split, index) for split in splits.values() for index in range(len(split))]
    alike: list[str] = []
    for number, index in enumerate(kept):
        earlier = kept[:number][labels[kept[:number]] != labels[index]]
        near_ones = earlier[np.bitwise_count(looks[earlier] ^ looks[index]) <= NEAR_BITS]
        near_ones = near_ones[digests[near_ones] != digests[index]]
        if len(near_ones):
            alike.append(f"{_name(*places[near_ones[0]])} and {_name(*places[index])}")
    if alike:
        count = "1 picture looks" if len(alike) == 1 else f"{len(alike)} pictures look"
        yield Remark(f"{count} nearly like one of another label ({_few(alike)}); see which is right", is_certain=False)


def _pairs(split: Split, other: Split, pairs: list[tuple[int, int]]) -> str:
    return _few([f"{_name(split, left)} and {_name(other, right)}" for left, right in pairs])


def _few(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _name(split: Split, index: int) -> str:
    return f"picture {index}" if split.names is None else split.names[index]


@lru_cache
def _cosines(size: int) -> NDArray[np.float32]:
    """The lowest frequencies of the discrete cosine transform: float32 [LOOK_SIDE, size]."""
    frequency, place = np.arange(LOOK_SIDE)[:, None], np.arange(size)[None]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * size)).astype(np.float32)
