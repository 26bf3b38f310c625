"""Rows of an emulated phone taken as if they were a product's, to rehearse a decision on a machine without a phone."""

from collections.abc import Iterable
from typing import Annotated

import typer

from bench.record import Measurement
from distill.terminal import say

RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Let an emulated phone's rows count; the result says nothing of any product.")
]


def counted(rows: Iterable[Measurement], *, rehearse: bool) -> list[Measurement]:
    """The rows; in a rehearsal, which is said, those of emulated devices are no longer wrong for that reason."""
    listed = list(rows)
    if not rehearse or not any(row.device.emulated for row in listed):
        return listed
    say("[yellow]rehearsal:[/] times of an emulated phone count here; what comes of it says nothing of any product")
    return [
        row.model_copy(update={"device": row.device.model_copy(update={"emulated": False})})
        if row.device.emulated
        else row
        for row in listed
    ]
