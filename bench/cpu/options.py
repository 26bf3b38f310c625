"""What the command line asks of this machine, and the bench that does it."""

import secrets
from dataclasses import dataclass

from bench.cpu import machine
from bench.cpu.device import LAUNCHES, CpuBench
from bench.cpu.workers import Workers
from bench.session.answers.options import AccuracyOptions, PathOptions
from bench.timing.loop import HostLimits

INTERVAL_PERCENT = 2.0

MEMORY_SHARE = 0.8
"""Of this machine's memory: what a worker may hold if nothing else is said, so that a leak ends it and nothing else."""


@dataclass(frozen=True)
class HostOptions:
    """As on the command line.

    Attributes:
        launches: processes per cell.
        seed: of the order of launches; None for a new one.
        interval_percent: a launch goes on until its median is known to ± this many percent.
        memory_limit_mb: what a worker may hold; None for `MEMORY_SHARE` of the machine.
    """

    launches: int = LAUNCHES
    seed: int | None = None
    interval_percent: float = INTERVAL_PERCENT
    memory_limit_mb: int | None = None


def open_cpu(options: HostOptions, accuracy: AccuracyOptions, path: PathOptions, *, timeout_s: float) -> CpuBench:
    """The CPU of this machine."""
    limit_bytes = int(MEMORY_SHARE * machine.identify().memory_bytes)
    if options.memory_limit_mb is not None:
        limit_bytes = options.memory_limit_mb * 1_000_000
    return CpuBench(
        limits=HostLimits(half_width=options.interval_percent / 100),
        launches=options.launches,
        seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
        workers=Workers(timeout_s=timeout_s),
        memory_limit_bytes=limit_bytes,
        accuracy_images=accuracy.images,
        data=accuracy.data,
        path=path,
        repeats=accuracy.repeat,
    )
