"""Where a study's cells run: `ENGINES` is the one table, one file per engine.

Whichever it is, a cell is the same process (`distill.engines.cell_process`), so it computes and writes the same.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from distill.engines import local, ray
from distill.engines.engine import OWN_CHOICE, Ended, Engine, Event, Options, Quiet, Started
from distill.errors import UsageError

ENGINES: dict[str, Callable[[Path, Options], AbstractContextManager[Engine]]] = {
    "local": local.open_engine,
    "ray": ray.open_engine,
}
"""Name -> opens the engine for a study, by its record; raises UsageError for options it cannot meet."""


def open_engine(name: str, study_file: Path, options: Options) -> AbstractContextManager[Engine]:
    """The engine for the study that has this record; errors as `ENGINES`, and UsageError for an unknown name."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}. Known: {', '.join(ENGINES)}.")
    return ENGINES[name](study_file, options)


__all__ = ["ENGINES", "OWN_CHOICE", "Ended", "Engine", "Event", "Options", "Quiet", "Started", "open_engine"]
