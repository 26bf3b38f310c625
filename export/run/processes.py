"""Processes of ours from the outside: started, listened to, kept inside their limits, and ended with this one."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distill.system import child_environment, signal_name

PIPE_BYTES = 65536
_PROC = Path("/proc")
_GROUP, _RESIDENT_PAGES = 2, 21
"""Positions in /proc/PID/stat behind the command's name, which may hold anything but ends at the last bracket."""


@dataclass(frozen=True)
class Limits:
    """What one process may take, with every process it starts: memory, and seconds for one step of its work."""

    memory_bytes: int
    seconds: float


class Child:
    """A process with an interpreter of its own, and a process group of its own that ends when this process does.

    What it prints goes to a log; on its standard output it says JSON objects, one a line (`export.run.child`).

    Args:
        command: program and arguments.
        log: file for what it prints; an older one is replaced.

    Attributes:
        pid: also of its process group.
        ended: how, in words, for one that left no word of its own; None while it runs.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("wb") as noise:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closes with this process, however it ends
                stdout=subprocess.PIPE,
                stderr=noise,
                env=child_environment(),
                process_group=0,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._words = self._process.stdin, self._process.stdout
        os.set_blocking(self._words.fileno(), False)
        self._unfinished, self._silent = b"", False
        self.pid = self._process.pid
        self.ended: str | None = None

    def begin(self) -> None:
        """Tell it that what it waits for is there; nothing happens if it has ended."""
        with suppress(BrokenPipeError):
            self._orders.write(b"\n")
            self._orders.flush()

    def register(self, poll: "select.poll") -> None:
        """Let `poll` return when it says something, unless it has closed its output."""
        if not self._silent:
            poll.register(self._words, select.POLLIN)

    def look(self) -> list[bytes]:
        """The lines that it has said since; if it has ended, what is left of its group is ended, too."""
        if self.ended is not None:
            return []
        # Without reaping: until then the process keeps its id, so that its group can be killed safely.
        gone = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        *lines, self._unfinished = (self._unfinished + self._read()).split(b"\n")
        if gone:
            self.end()
        return lines

    def _read(self) -> bytes:
        parts: list[bytes] = []
        with suppress(BlockingIOError):
            while part := os.read(self._words.fileno(), PIPE_BYTES):
                parts.append(part)
            self._silent = True
        return b"".join(parts)

    def kill(self) -> None:
        """End it with every process it started; `look` finds it ended, and what it said before. Not after `ended`."""
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it and wait until it is gone; nothing happens if it was."""
        if self.ended is not None:
            return
        self.kill()
        self.ended = exit_in_words(self._process.wait())
        with suppress(BrokenPipeError):
            self._orders.close()
        self._words.close()


def wait_for_words(children: Sequence[Child], seconds: float) -> None:
    """Return when one of them has something to say, or after some seconds."""
    poll = select.poll()
    for child in children:
        child.register(poll)
    poll.poll(1000 * seconds)


def exit_in_words(code: int) -> str:
    """A worker that left no word of its own was ended from below: a native crash, or a converter that called exit()."""
    if code == -signal.SIGKILL:
        return "the converter was ended by SIGKILL, most likely by the system for lack of memory; try --jobs 1"
    if code < 0:
        return f"the converter was ended by {signal_name(-code)}"
    return f"the converter ended its process with exit code {code} before it was done"


def over_limit(held_bytes: int, seconds: float, limits: Limits) -> str | None:
    """Which limit a worker is over, and how to raise it; None if it is inside."""
    if held_bytes > limits.memory_bytes:
        return (
            f"the converter was ended at its memory limit: it held {held_bytes / 2**30:.1f} GiB of "
            f"{limits.memory_bytes / 2**30:.1f}; raise it with --memory-gib {2 * limits.memory_bytes / 2**30:.0f}"
        )
    if seconds > limits.seconds:
        return (
            f"the converter was ended at its time limit of {limits.seconds:.0f} s; "
            f"raise it with --timeout {2 * limits.seconds:.0f}"
        )
    return None


def resident_bytes() -> dict[int, int]:
    """Resident memory of every process group on this machine; pages shared inside a group count more than once.

    Read from /proc, or from `ps` where there is none (macOS).
    """
    totals: dict[int, int] = {}
    for group, size_bytes in _from_proc() if (_PROC / "self" / "stat").exists() else _from_ps():
        totals[group] = totals.get(group, 0) + size_bytes
    return totals


def _from_proc() -> Iterator[tuple[int, int]]:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it has ended since
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield int(fields[_GROUP]), int(fields[_RESIDENT_PAGES]) * page_bytes


def _from_ps() -> Iterator[tuple[int, int]]:
    table = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=True).stdout
    for line in table.splitlines():
        group, kibibytes = line.split()
        yield int(group), int(kibibytes) * 1024
