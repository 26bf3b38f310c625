"""The few fields of bench's journal that a figure needs, read leniently: the journal is another package's contract.

A line that lacks one of the fields, that a crash cut off, or whose row is not valid is passed over.
"""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from distill.errors import UsageError


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
class Time:
    """One artifact's time under some conditions.

    Attributes:
        latency_ms: median per call.
        size_bytes: of the artifact's files.
    """

    checkpoint_sha256: str
    conditions: Conditions
    latency_ms: float
    size_bytes: int


def read_times(path: Path) -> tuple[Time, ...]:
    """The valid times of a journal; of one artifact under the same conditions the newest.

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
        newest[time.checkpoint_sha256, time.conditions] = time
    return tuple(newest.values())


def _time(line: bytes) -> Iterator[Time]:
    try:
        row: Any = json.loads(line)
        subject, device = row["subject"], row["device"]
        samples = cast("list[float]", row["samples_ms"])
        if row["validity"] != "valid" or not samples or device.get("emulated"):
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
        yield Time(subject["checkpoint_sha256"], conditions, statistics.median(samples), subject["size_bytes"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return
