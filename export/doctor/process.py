"""The worker of one format from the outside: started, listened to, and ended with this process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Signal
from threading import Thread

from pydantic import TypeAdapter

from distill.system import child_environment
from export.doctor.worker import BrokeDown, Chosen, Event, Order
from export.run.memory import resident_bytes
from export.run.pool import MEMORY_POLL_S, Limits, over_limit
from export.run.processes import how_it_died, kill_group

COMMAND = (sys.executable, "-m", "export.doctor.worker")

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
    with log.open("wb") as noise:
        process = subprocess.Popen(
            [*COMMAND, str(path)],
            stdin=subprocess.PIPE,  # closes with this process, however it ends: see `export.run.worker`
            stdout=subprocess.PIPE,
            stderr=noise,
            env=child_environment(),
            process_group=0,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    watch = _Watch(process, limits)
    with process.stdin, process.stdout as lines:
        try:
            watch.start()
            for line in lines:
                watch.seen_s = time.monotonic()
                event = _EVENTS.validate_json(line)
                yield event
                if isinstance(event, (Chosen, BrokeDown)):
                    return
            yield BrokeDown(cause=watch.over_limit or how_it_died(process.wait()))
        finally:
            watch.ends.set()
            watch.join()
            kill_group(process.pid)
            process.wait()


class _Watch(Thread):
    """Ends a worker that holds too much memory, or says nothing for too long."""

    def __init__(self, process: "subprocess.Popen[bytes]", limits: Limits) -> None:
        super().__init__(daemon=True)
        self.ends = Signal()
        self.seen_s = time.monotonic()
        self.over_limit: str | None = None
        self._process, self._limits = process, limits

    def run(self) -> None:
        while not self.ends.wait(MEMORY_POLL_S):
            held_bytes = resident_bytes().get(self._process.pid, 0)
            self.over_limit = over_limit(held_bytes, time.monotonic() - self.seen_s, self._limits)
            if self.over_limit:
                kill_group(self._process.pid)
                return
