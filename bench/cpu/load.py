"""What else the machine did while a process measured: other processes, other virtual machines, waiting for a core."""

import os
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path

PROCESSOR_TIMES = Path("/proc/stat")
OWN_THREADS = Path("/proc/self/task")

SHORTEST_S = 0.2
"""The kernel counts in hundredths of a second; over less time than this, shares would be guesses."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ticks:
    """Processor time of all cores since the machine started, in seconds.

    Attributes:
        busy: all work in this machine, whoever did it.
        stolen: time the hypervisor gave to other virtual machines.
        whole: all of it, idle time included.
    """

    busy: float
    stolen: float
    whole: float

    def __add__(self, other: "Ticks") -> "Ticks":
        return Ticks(self.busy + other.busy, self.stolen + other.stolen, self.whole + other.whole)

    def __sub__(self, other: "Ticks") -> "Ticks":
        return Ticks(self.busy - other.busy, self.stolen - other.stolen, self.whole - other.whole)


@dataclass(frozen=True)
class Reading:
    """The counters at one moment: the machine's (None where it does not tell), and those of this process in seconds."""

    ticks: Ticks | None
    own: float
    waited: float | None
    clock: float


@dataclass(frozen=True)
class Load:
    """Shares of some time, each None where the machine does not tell or the time was too short.

    Attributes:
        other_work: of all cores, for other processes.
        stolen: of all cores, for other virtual machines.
        waiting: time this process's threads were ready and had no core, all together, by the time that passed.
    """

    other_work: float | None
    stolen: float | None
    waiting: float | None


def read_load() -> Reading:
    """The counters now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(read_ticks(), usage.ru_utime + usage.ru_stime, _waited(), time.monotonic())


@dataclass(frozen=True)
class Spent:
    """Seconds between two readings of one process, or between several pairs of them; None as in `Reading`."""

    passed: float
    own: float
    waited: float | None
    ticks: Ticks | None

    def __add__(self, other: "Spent") -> "Spent":
        waited = None if self.waited is None or other.waited is None else self.waited + other.waited
        ticks = None if self.ticks is None or other.ticks is None else self.ticks + other.ticks
        return Spent(self.passed + other.passed, self.own + other.own, waited, ticks)

    def load(self) -> Load:
        """What happened in this time."""
        if self.passed < SHORTEST_S:
            return Load(None, None, None)
        waiting = None if self.waited is None else max(0.0, self.waited) / self.passed
        if self.ticks is None:
            return Load(None, None, waiting)
        whole = max(1 / TICKS_PER_S, self.ticks.whole)
        return Load(max(0.0, (self.ticks.busy - self.own) / whole), self.ticks.stolen / whole, waiting)


NOTHING_SPENT = Spent(0.0, 0.0, 0.0, Ticks(0.0, 0.0, 0.0))


def spent(began: Reading, ended: Reading) -> Spent:
    """What passed between two readings of one process."""
    waited = None if began.waited is None or ended.waited is None else ended.waited - began.waited
    ticks = None if began.ticks is None or ended.ticks is None else ended.ticks - began.ticks
    return Spent(ended.clock - began.clock, ended.own - began.own, waited, ticks)


def busy_share(*, window_s: float = 0.5) -> float | None:
    """Share of all cores at work (or stolen) during a window that this call waits for; None if nobody tells."""
    began = read_ticks()
    time.sleep(window_s)
    ended = read_ticks()
    if began is None or ended is None:
        return None
    used = ended.busy - began.busy + ended.stolen - began.stolen
    return used / max(1 / TICKS_PER_S, ended.whole - began.whole)


def read_ticks() -> Ticks | None:
    """Processor time of the machine so far."""
    match = re.match(r"cpu +([\d ]+)", _text(PROCESSOR_TIMES))
    if not match:
        return None
    # user nice system idle iowait irq softirq steal; guest time is part of user already.
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(value) / TICKS_PER_S for value in match.group(1).split()[:8]
    )
    busy = user + nice + system + irq + softirq
    return Ticks(busy, steal, busy + steal + idle + iowait)


def _waited() -> float | None:
    """Seconds that all threads of this process have waited for a core."""
    fields = [_text(path).split() for path in OWN_THREADS.glob("*/schedstat")]
    waits = [int(line[1]) / 1e9 for line in fields if len(line) == 3]
    return sum(waits) if waits else None


def _text(path: Path) -> str:
    """The file's text, or nothing where the machine has no such file: every caller then answers None."""
    try:
        return path.read_text()
    except OSError:
        return ""
