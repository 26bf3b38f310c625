"""The worker of one format from the outside: started, listened to, and ended with this process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from export.doctor.worker import BrokeDown, Chosen, Event, Order
from export.pool import environment, how_it_died, kill_group

COMMAND = (sys.executable, "-m", "export.doctor.worker")

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


def examine(order: Order, folder: Path, log: Path) -> Iterator[Event]:
    """Yield the worker's events; the last one is `Chosen`, or `BrokeDown` if the toolchain failed or crashed.

    Leaving the iteration early ends the worker.

    Args:
        order: what to find out.
        folder: an existing one, for the order.
        log: file for what the toolchain prints.
    """
    path = folder / f"{order.format}.order.json"
    order.write(path)
    with log.open("wb") as noise:
        process = subprocess.Popen(
            [*COMMAND, str(path)],
            stdin=subprocess.PIPE,  # closes with this process, however it ends: see `export.worker`
            stdout=subprocess.PIPE,
            stderr=noise,
            env=environment(),
            process_group=0,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout as lines:
        try:
            for line in lines:
                event = _EVENTS.validate_json(line)
                yield event
                if isinstance(event, (Chosen, BrokeDown)):
                    return
            yield BrokeDown(cause=how_it_died(process.wait()))
        finally:
            kill_group(process)
            process.wait()
