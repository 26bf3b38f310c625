"""What a row says of the whole path: from a picture's bytes to the likeliest classes."""

from statistics import median
from typing import Self

from pydantic import model_validator

from distill.contract import Strict


class WholePath(Strict):
    """Raw samples of every stage and of the whole, in milliseconds, of all launches in order; one picture a call.

    Attributes:
        pictures: what was decoded, in words.
        pictures_sha256: identity of those pictures; only paths of the same ones are to be compared.
        launch_counts: how many of the samples each launch took.
        decode_ms: from bytes in memory to upright pixels.
        resize_ms: grey if asked, centre square if asked, resized.
        convert_ms: divided by 255, into the runtime's input.
        call_ms: the runtime's call.
        top_k_ms: the output read, the likeliest classes and their shares.
        total_ms: all of it, by a clock of its own: it exceeds the sum of the stages by the readings of theirs.
    """

    pictures: str
    pictures_sha256: str
    launch_counts: tuple[int, ...]
    decode_ms: tuple[float, ...]
    resize_ms: tuple[float, ...]
    convert_ms: tuple[float, ...]
    call_ms: tuple[float, ...]
    top_k_ms: tuple[float, ...]
    total_ms: tuple[float, ...]

    def medians(self) -> list[tuple[str, float]]:
        """(name, median in milliseconds) of every stage in its order, then of the total."""
        return [(name, median(getattr(self, name))) for name in (*STAGES, "total_ms")]

    @model_validator(mode="after")
    def _as_many_of_each(self) -> Self:
        counts = {name: len(getattr(self, name)) for name in (*STAGES, "total_ms")}
        if set(counts.values()) != {sum(self.launch_counts)}:
            raise ValueError(f"the launches have {sum(self.launch_counts)} samples, the stages {counts}")
        return self


STAGES = ("decode_ms", "resize_ms", "convert_ms", "call_ms", "top_k_ms")
"""In the order in which they come."""
