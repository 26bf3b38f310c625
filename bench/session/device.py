"""What a session asks of a device, whatever kind it is."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from bench.record import Measurement
from bench.session.cells import Cell, Plan
from bench.session.resume import Place
from export.artifact.manifest import Manifest


class DeviceBench(Protocol):
    """One kind of device that can be measured."""

    def refusal(self, manifest: Manifest) -> str | None:
        """Why this device cannot run an artifact, or None."""
        ...

    def caution(self) -> str | None:
        """What about the device's present state will spoil the measurements, or None."""
        ...

    def spread(self, plan: Plan) -> Plan:
        """The plan with one cell for every way in which an artifact can run here."""
        ...

    def place(self) -> Place:
        """Which rows of a journal are its own, so that a session can go on.

        Raises:
            UsageError: it is several devices; says how to go on with one.
        """
        ...

    def measure_all(
        self, cells: Sequence[Cell], *, run_id: str, tell: Callable[[str], None]
    ) -> Generator[tuple[Cell, Measurement]]:
        """Measure all cells in an order of its own, giving each row as it is complete; `tell` shows what is going on.

        A failure of an artifact is a `failed` row, not an exception.
        """
        ...
