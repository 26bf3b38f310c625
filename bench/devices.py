"""Devices by name: `DEVICES` is the one table."""

from collections.abc import Callable
from typing import Protocol

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

    def measure(self, cell: Cell, *, run_id: str) -> Measurement:
        """Measure one cell; a failure of the artifact is a `failed` row, not an exception."""
        ...


DEVICES: dict[str, Callable[..., DeviceBench]] = {"cpu": CpuBench}
"""Each makes a bench from `limits` and `timeout_s`, the seconds a cell may take."""

COMING = {
    "android": "Phones cannot be measured by this version yet; their part comes with the Android app.",
    "cuda": "GPUs cannot be measured by this version yet.",
}


def open_device(name: str, *, limits: Limits, timeout_s: float) -> DeviceBench:
    """The bench of a device.

    Raises:
        UsageError: there is no such device, or not in this version.
    """
    if name in DEVICES:
        return DEVICES[name](limits=limits, timeout_s=timeout_s)
    why = COMING.get(name, f"There is no device {name!r}.")
    raise UsageError(
        f"{why} Devices of this version: {', '.join(DEVICES)}. Use --device cpu to measure on this machine."
    )
