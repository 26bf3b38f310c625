"""The system that a command runs on: cores and memory it may use, what it hands to a child, how a process ended.

Limits of control groups (containers, batch systems) count, of both versions and of every group around this process.
"""

import difflib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

TOOLKIT_FOLDER = Path(__file__).resolve().parents[1]
MEMORY_INFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")

NO_LIMIT_BYTES = 2**60
"""Version 1 writes a number above it where there is no limit."""


SPINS = "GOMP_SPINCOUNT"
"""How often a thread of GNU's OpenMP looks again before it sleeps; 300,000 times if nobody says."""

BRIEFLY = "10000"


def usable_cores() -> int:
    """Logical cores that this process may keep busy; at least 1, a fraction of a core does not count."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *_cores_of_groups()])))


def available_bytes() -> int | None:
    """Memory that new processes can have without anything being pushed out; None where the system does not tell."""
    rooms = list(_rooms_of_groups())
    for line in _text(MEMORY_INFO).splitlines():
        if line.startswith("MemAvailable:"):
            rooms.append(int(line.split()[1]) * 1024)
    return min(rooms, default=None)


def memory_limits_bytes() -> list[int]:
    """Limits of every control group around this process, in no order; empty without any."""
    return [limit for limit, _ in _limits_of_groups()]


def child_environment() -> dict[str, str]:
    """Our own environment, able to import this very toolkit from any working directory, installed or not."""
    path = os.pathsep.join(filter(None, [str(TOOLKIT_FOLDER), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def wait_briefly() -> None:
    """Let the threads that torch works with sleep soon when they have to wait for each other, unless the user chose.

    As they come they keep their cores busy while they wait. Beside any other work, that takes most of the cores' time;
    `python -m tests.performance crowded` shows how much. It counts for this process, if it has not imported torch yet,
    and for all that it starts.
    """
    if not os.environ.keys() & {SPINS, "OMP_WAIT_POLICY"}:
        os.environ[SPINS] = BRIEFLY


def started_by_torchrun() -> tuple[int, int]:
    """How many processes share a run, and how many of them on this machine: 1 and 1 without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1, 1
    return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])


def signal_name(number: int) -> str:
    """E.g. "SIGSEGV"; "signal 99" where the system has no name for it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: "; did you mean onnx or eager?", or "." if no name is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "."


def _cores_of_groups() -> Iterator[float]:
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.strip().isdecimal() and int(period or 0):  # "max" or -1: no limit
            yield int(quota) / int(period)


def _rooms_of_groups() -> Iterator[int]:
    """What each group may still have: its limit less what it holds, files aside that it read and no longer uses."""
    for limit, group in _limits_of_groups():
        held, unused = _text(group / "memory.current"), "inactive_file"
        if not held:
            held, unused = _text(group / "memory.usage_in_bytes"), "total_inactive_file"
        if held.strip().isdecimal():
            counts = dict(line.split() for line in _text(group / "memory.stat").splitlines())
            yield max(0, limit - int(held) + int(counts.get(unused, 0)))


def _limits_of_groups() -> Iterator[tuple[int, Path]]:
    for group in _groups("memory"):
        limit = _text(group / "memory.max") or _text(group / "memory.limit_in_bytes")
        if limit.strip().isdecimal() and int(limit) < NO_LIMIT_BYTES:  # "max", or a number that means none
            yield int(limit), group


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control group that this process is in, and of those around it, as far as they can be seen.

    In a container its own group may lie at the root, whatever its path is outside.
    """
    for line in _text(OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        parts = [part for part in path.split("/") if part not in ("", "..")]
        yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _text(path: Path) -> str:
    """The file's text; empty where the system has no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""
