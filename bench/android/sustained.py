"""What a long run says: the median of every minute, because the ranking at minute 1 is not the ranking at minute 30."""

from collections.abc import Sequence
from itertools import groupby

from bench.timing.statistics import Summary, summarize

MS_PER_MINUTE = 60_000


def per_minute(samples_ms: Sequence[float]) -> list[Summary]:
    """The summary of each minute, by when a sample ended; samples follow one another without a pause.

    Raises:
        ValueError: a sample is not above 0.
    """
    ends_ms: list[float] = []
    elapsed_ms = 0.0
    for sample in samples_ms:
        elapsed_ms += sample
        ends_ms.append(elapsed_ms)
    numbered = zip((int(end // MS_PER_MINUTE) for end in ends_ms), samples_ms, strict=True)
    return [summarize([sample for _, sample in group]) for _, group in groupby(numbered, key=lambda pair: pair[0])]
