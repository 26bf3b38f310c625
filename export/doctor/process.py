"""The worker of one format from the outside: started, listened to, and ended with this process."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from export.doctor.worker import BrokeDown, Chosen, Event, Order
from export.run.processes import Child, Limits, over_limit, resident_bytes, wait_for_words

COMMAND = (sys.executable, "-m", "export.doctor.worker")
LOOK_S = 0.25

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


def examine(order: Order, folder: Path, log: Path, *, limits: Limits) -> Iterator[Event]:
    """Yield the worker's events; the last one is `Chosen`, or `BrokeDown` if the toolchain failed or crashed.

    Leaving the iteration early ends the worker.

    Args:
        order: what to find out.
        folder: an existing one, for the order.
        log: file for what the toolchain prints.
        limits: what one measurement may take; beyond them the worker is ended.
    """
    path = folder / f"{order.format}.order.json"
    order.write(path)
    worker = Child([*COMMAND, str(path)], log)
    heard_s = time.monotonic()
    try:
        while worker.ended is None:
            wait_for_words([worker], LOOK_S)
            for line in worker.look():
                heard_s = time.monotonic()
                event = _EVENTS.validate_json(line)
                yield event
                if isinstance(event, (Chosen, BrokeDown)):
                    return
            held_bytes = resident_bytes().get(worker.pid, 0)
            if worker.ended is None and (over := over_limit(held_bytes, time.monotonic() - heard_s, limits)):
                yield BrokeDown(cause=over)
                return
        yield BrokeDown(cause=worker.ended)
    finally:
        worker.end()
