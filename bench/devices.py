"""Devices by name: `DEVICES` is the one table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from bench.android.options import PhoneOptions, open_phones
from bench.cells import Cell
from bench.cpu import CpuBench
from bench.record import Measurement
from bench.timing import Limits
from distill.errors import UsageError
from export.artifact.manifest import Manifest


class DeviceBench(Protocol):
    """One kind of device that can be measured."""

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this device cannot run an artifact, or None."""
        ...

    def caution(self) -> str | None:
        """What about the device's present state will spoil the measurements, or None."""
        ...


class CellBench(DeviceBench, Protocol):
    """A device that measures one cell after the other."""

    def measure(self, cell: Cell, *, run_id: str) -> Measurement:
        """Measure one cell; a failure of the artifact is a `failed` row, not an exception."""
        ...


@runtime_checkable
class SessionBench(DeviceBench, Protocol):
    """A device that decides itself in which order the cells of a session are measured."""

    def measure_all(
        self, cells: Sequence[Cell], *, run_id: str, tell: Callable[[str], None]
    ) -> Iterator[tuple[Cell, Measurement]]:
        """Measure all cells, giving each row as it is complete; `tell` shows what is going on."""
        ...


@dataclass(frozen=True)
class Options:
    """What a session asks of a device.

    Attributes:
        limits: when warm-up and sampling stop.
        timeout_s: seconds one process may take.
        phone: what is asked of phones; nobody else looks at it.
    """

    limits: Limits = field(default_factory=Limits)
    timeout_s: float = 120.0
    phone: PhoneOptions = field(default_factory=PhoneOptions)


DEVICES: dict[str, Callable[[Options], CellBench | SessionBench]] = {
    "cpu": lambda options: CpuBench(limits=options.limits, timeout_s=options.timeout_s),
    "android": lambda options: open_phones(options.phone, limits=options.limits, timeout_s=options.timeout_s),
}

COMING = {"cuda": "GPUs cannot be measured by this version yet."}


def open_device(name: str, options: Options) -> CellBench | SessionBench:
    """The bench of a device.

    Raises:
        UsageError: there is no such device, or not in this version, or it cannot be reached.
    """
    if name in DEVICES:
        return DEVICES[name](options)
    why = COMING.get(name, f"There is no device {name!r}.")
    raise UsageError(
        f"{why} Devices of this version: {', '.join(DEVICES)}. Use --device cpu to measure on this machine."
    )
