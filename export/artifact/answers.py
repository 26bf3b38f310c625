"""Which held-out images a model answers rightly, image by image, so that any two models can be compared on the same."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from distill.contract import Strict
from export.artifact.paired import Paired, share_interval


class Answers(Strict):
    """Right and wrong answers in the order of the images.

    Attributes:
        order_sha256: identity of the data and of the order its images are taken in. Who shares it has answered the same
            images, one after the other, as far as both go.
        num_images: how many were answered, above 0.
        right: hexadecimal, four images a digit, the first one its highest bit, set where the answer is right; the last
            digit is filled with zeros.
    """

    order_sha256: str
    num_images: int
    right: str

    @model_validator(mode="after")
    def _digits_fit(self) -> Self:
        digits = -(-self.num_images // 4)
        if self.num_images < 1 or len(self.right) != digits or set(self.right) - set("0123456789abcdef"):
            raise ValueError(f"{self.num_images} images need {digits} hexadecimal digits, found {self.right!r}")
        return self

    @classmethod
    def of(cls, right: NDArray[np.bool_], order_sha256: str) -> Self:
        """From right (True) and wrong answers: bool [N], N > 0."""
        digits = -(-len(right) // 4)
        text = np.packbits(right).tobytes().hex()[:digits]
        return cls(order_sha256=order_sha256, num_images=len(right), right=text)

    def unpacked(self) -> NDArray[np.bool_]:
        """Right (True) and wrong, bool [num_images]."""
        whole = bytes.fromhex(self.right + "0" * (len(self.right) % 2))
        return np.unpackbits(np.frombuffer(whole, dtype=np.uint8), count=self.num_images).astype(np.bool_)


def paired(ours: Answers | None, theirs: Answers | None) -> Paired | None:
    """The answers of two models to the images that both have answered; None unless they are known to be the same."""
    if ours is None or theirs is None or ours.order_sha256 != theirs.order_sha256:
        return None
    shared = min(ours.num_images, theirs.num_images)
    return Paired.count(ours.unpacked()[:shared], theirs.unpacked()[:shared])


def share_kept(ours: Answers | None, theirs: Answers | None) -> float | None:
    """Our accuracy as a share of theirs on the images that both have answered, however many more either has.

    Returns:
        None if they did not answer the same images, or theirs are never right.
    """
    counts = paired(ours, theirs)
    if counts is None or counts.both + counts.only_theirs == 0:
        return None
    return float((counts.both + counts.only_ours) / (counts.both + counts.only_theirs))


def share_kept_interval(ours: Answers | None, theirs: Answers | None) -> tuple[float, float] | None:
    """95 % interval of our accuracy as a share of theirs, on the same images (`share_interval`).

    Returns:
        None if they did not answer the same images, or theirs are never right.
    """
    counts = paired(ours, theirs)
    return None if counts is None else share_interval(counts)
