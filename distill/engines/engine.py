"""What every engine does: run the cells in some folders, say of each when it starts and how it ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from distill.errors import UsageError

LOOK_EVERY_S = 0.5
"""An engine gives a sign of life at least this often, so that a display can follow."""


@dataclass(frozen=True)
class Started:
    """A cell's process was started.

    Attributes:
        host: the machine it runs on; empty for this one.
    """

    folder: Path
    host: str = ""


@dataclass(frozen=True)
class Ended:
    """A cell's process has ended.

    Attributes:
        failure: why it did not reach its end, in words; None if it did.
    """

    folder: Path
    failure: str | None


@dataclass(frozen=True)
class Quiet:
    """Nothing happened for `LOOK_EVERY_S`."""


Event = Started | Ended | Quiet


class Engine(Protocol):
    """Runs cells."""

    def run(self, folders: Sequence[Path]) -> Iterator[Event]:
        """Run the cell of every folder, whose `config.json` is there; one `Ended` each, in the order they end.

        Whoever stops reading stops the cells that are running; each keeps its last finished epoch.
        """
        ...


@dataclass(frozen=True)
class Options:
    """What a user may ask of an engine; None = the engine's own choice.

    Attributes:
        jobs: runs at once on this machine (local).
        address: HOST:PORT of a cluster that is running (ray).
        cpus_per_cell, gpus_per_cell: what a cell takes of its node; GPUs may be shared, e.g. 0.25 (ray).
    """

    jobs: int | None = None
    address: str | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | None = None

    def allow(self, engine: str, *names: str) -> None:
        """Raises UsageError if anything else was asked for."""
        for field in fields(self):
            if field.name not in names and getattr(self, field.name) is not None:
                known = ", ".join(_flag(name) for name in names)
                raise UsageError(f"{_flag(field.name)} means nothing to --engine {engine}, which takes {known}.")


OWN_CHOICE = Options()
"""Everything as the engine chooses."""


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
