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


@dataclass(frozen=True)
class Reading:
    """The counters at one moment: the machine's (None where it does not tell), and those of this process in seconds."""

    ticks: Ticks | None
    own: float
    waited: float | None
    clock: float


@dataclass(frozen=True)
class Load:
    """Shares between two readings, each None where the machine does not tell or the time was too short.

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


def load_between(began: Reading, ended: Reading) -> Load:
    """What happened between two readings of one process."""
    passed = ended.clock - began.clock
    if passed < SHORTEST_S:
        return Load(None, None, None)
    waiting = None
    if began.waited is not None and ended.waited is not None:
        # A thread that ended took its count with it.
        waiting = max(0.0, ended.waited - began.waited) / passed
    if began.ticks is None or ended.ticks is None:
        return Load(None, None, waiting)
    whole = max(1 / TICKS_PER_S, ended.ticks.whole - began.ticks.whole)
    others = ended.ticks.busy - began.ticks.busy - (ended.own - began.own)
    return Load(max(0.0, others / whole), (ended.ticks.stolen - began.ticks.stolen) / whole, waiting)


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
    found = re.match(r"cpu +([\d ]+)", _text(PROCESSOR_TIMES))
    if not found:
        return None
    # user nice system idle iowait irq softirq steal; guest time is part of user already.
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(value) / TICKS_PER_S for value in found.group(1).split()[:8]
    )
    busy = user + nice + system + irq + softirq
    return Ticks(busy, steal, busy + steal + idle + iowait)


def _waited() -> float | None:
    """Seconds that all threads of this process have waited for a core."""
    fields = [_text(path).split() for path in OWN_THREADS.glob("*/schedstat")]
    waits = [int(one[1]) / 1e9 for one in fields if len(one) == 3]
    return sum(waits) if waits else None


def _text(path: Path) -> str:
    """The file's text, or nothing where the machine has no such file: every caller then answers None."""
    try:
        return path.read_text()
    except OSError:
        return ""
