"""A process in a run: `--set method.process=process.json`."""

from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError
from distill.methods.distpro import DistProConfig
from distill.process.record import searched_process

if TYPE_CHECKING:  # it calls this module
    from distill.methods import AnyMethod


def with_process(method: "AnyMethod", path: Path) -> "AnyMethod":
    """A method that follows a searched process, on the pathways and by the normalisation that it was searched with.

    The places of the levels stay the method's own: they are of its networks.

    Raises:
        UsageError: no such file, or a method that follows none.
    """
    found, process = searched_process(path)
    if not isinstance(method, DistProConfig):
        raise UsageError(f"method {method.kind} follows no process; set method.kind=distpro.")
    grid = process.grid.model_copy(update={"taps": method.grid.taps})
    return method.model_copy(update={"process": found, "grid": grid, "normalisation": process.normalisation})
