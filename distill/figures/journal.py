"""The few fields of bench's journal that a figure needs, read leniently: the journal is another package's contract.

A line that lacks one of the fields, that a crash cut off, or whose row is wrong (failed, throttled, of an emulated
device) is passed over. One that is known badly (noisy, drifting) counts, with its label and what its launches tell.
"""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from distill.errors import UsageError

VALID = "valid"
KNOWN_BADLY = ("noisy", "drifting")


@dataclass(frozen=True)
class Conditions:
    """What must be equal for two times to be compared.

    Attributes:
        fixed_performance: a phone's clocks were held at a level that it can keep up.
    """

    device: str
    instrument: str | None
    serial: str | None
    fixed_performance: bool
    format: str
    precision: str
    runtime: str
    accelerator: str | None
    batch: int
    threads: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.device}, {self.format} {self.precision} ({self.runtime}), batch {self.batch}, {threads}"


@dataclass(frozen=True)
class Launch:
    """One process launch.

    Attributes:
        latency_ms: median per call.
        together: names the launches of other artifacts that took their bursts in turn with it; None if there were none.
        turns_ms: median of each burst.
    """

    latency_ms: float
    together: str | None
    turns_ms: tuple[float, ...]


@dataclass(frozen=True)
class Time:
    """One artifact's time under some conditions.

    Attributes:
        latency_ms: median per call.
        size_bytes: of the artifact's files.
        label: valid, noisy or drifting.
        launches: at least one.
    """

    checkpoint_sha256: str
    conditions: Conditions
    latency_ms: float
    size_bytes: int
    label: str
    launches: tuple[Launch, ...]


def read_times(path: Path) -> tuple[Time, ...]:
    """The times of a journal; of one artifact under the same conditions the newest valid one, or else the newest.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}. Measure first (python -m bench ARTIFACT --device cpu), name the "
            "journal with --measurements, or leave the option away: accuracy is then drawn against parameters."
        ) from error
    newest: dict[tuple[str, Conditions], Time] = {}
    for time in (time for line in lines for time in _time(line)):
        known = newest.get((time.checkpoint_sha256, time.conditions))
        if known is None or time.label == VALID or known.label != VALID:
            newest[time.checkpoint_sha256, time.conditions] = time
    return tuple(newest.values())


def _time(line: bytes) -> Iterator[Time]:
    try:
        row: Any = json.loads(line)
        subject, device = row["subject"], row["device"]
        samples = cast("list[float]", row["samples_ms"])
        label = row["validity"]
        if label not in (VALID, *KNOWN_BADLY) or not samples or device.get("emulated"):
            return
        conditions = Conditions(
            device=f"{device['name']} ({device['kind']})",
            instrument=device.get("instrument"),
            serial=device.get("serial"),
            fixed_performance=bool(row.get("conditions", {}).get("fixed_performance")),
            format=subject["format"],
            precision=subject["precision"],
            runtime=f"{row.get('runtime')} {row.get('runtime_version')}",
            accelerator=row.get("accelerator_active"),
            batch=row["batch"],
            threads=row["threads"],
        )
        launches = tuple(_launches(row.get("launches") or [{"sample_count": len(samples)}], samples))
        latency_ms = statistics.median(samples)
        yield Time(subject["checkpoint_sha256"], conditions, latency_ms, subject["size_bytes"], label, launches)
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _launches(launches: list[dict[str, Any]], samples: list[float]) -> Iterator[Launch]:
    start = 0
    for launch in launches:
        own = samples[start : start + launch["sample_count"]]
        start += launch["sample_count"]
        ends = list(accumulate(launch.get("burst_counts") or []))
        bursts = [own[first:end] for first, end in zip([0, *ends], ends, strict=False)]
        yield Launch(
            statistics.median(own), launch.get("together"), tuple(statistics.median(burst) for burst in bursts if burst)
        )
